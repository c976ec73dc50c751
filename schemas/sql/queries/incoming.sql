-- Incoming messages by day.
SELECT
    toString(v.day) AS day,
    v.account AS account,
    v.number AS number,
    v.country AS country,
    v.count AS count
FROM v_incoming AS v
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
    AND (empty({numbers:Array(String)}) OR v.number IN {numbers:Array(String)})
    AND (empty({countries:Array(String)}) OR v.country IN {countries:Array(String)})
    AND v.count != 0
ORDER BY v.day, v.account, v.number, v.country
