-- Notices about limits, the newest first; `after` = only those behind one of them, whose keys it holds as texts.
SELECT
    v.id AS id,
    formatDateTime(v.month, '%Y-%m') AS month,
    v.account AS account,
    v.number AS number,
    v.limit_name AS limit_name,
    v.threshold AS threshold,
    v.threshold_count AS threshold_count,
    v.n AS n,
    v.kind AS kind,
    v.level AS level,
    v.level_before AS level_before,
    v.limit AS limit,
    v.used AS used,
    v.cause AS cause,
    v.is_past AS is_past,
    v.received_until AS received_until,
    v.noticed_at AS noticed_at
FROM alerts AS v FINAL
WHERE (empty({months:Array(Date)}) OR v.month IN {months:Array(Date)})
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
    AND (empty({numbers:Array(String)}) OR v.number IN {numbers:Array(String)})
    AND (
        empty({after:Array(String)})
        OR [toString(v.noticed_at), leftPad(toString(v.threshold_count), 20, '0'), v.id] < {after:Array(String)}
    )
ORDER BY v.noticed_at DESC, v.threshold_count DESC, v.id DESC
LIMIT {rows_max:UInt32}
