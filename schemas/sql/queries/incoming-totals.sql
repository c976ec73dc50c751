-- Incoming messages of a span of days by account and number.
SELECT
    v.account AS account,
    v.number AS number,
    sum(v.count) AS count
FROM v_incoming AS v
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
GROUP BY v.account, v.number
ORDER BY v.account, v.number
