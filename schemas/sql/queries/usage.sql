-- Outgoing messages by day and kind. template: 1 = true, 0 = false, -1 = null.
SELECT
    toString(v.day) AS day,
    v.account AS account,
    v.number AS number,
    v.country AS country,
    v.category AS category,
    v.template AS template,
    v.total AS total,
    v.sent AS sent,
    v.delivered AS delivered,
    v.read AS read,
    v.not_delivered AS not_delivered
FROM v_messages AS v
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
    AND (empty({numbers:Array(String)}) OR v.number IN {numbers:Array(String)})
    AND (empty({countries:Array(String)}) OR v.country IN {countries:Array(String)})
    AND (v.total != 0 OR v.sent != 0 OR v.delivered != 0 OR v.read != 0 OR v.not_delivered != 0)
ORDER BY v.day, v.account, v.number, v.country, v.category, v.template
