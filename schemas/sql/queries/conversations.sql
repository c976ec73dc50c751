-- Conversations by day and type, over all opening categories.
-- Reads the table as its view does, which would be planned twice.
SELECT
    toString(v.day) AS day,
    v.account AS account,
    v.number AS number,
    v.country AS country,
    v.type AS type,
    sum(v.total) AS total,
    sum(v.free) AS free,
    sum(v.charged) AS charged
FROM conversations AS v FINAL
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND v.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
    AND (empty({numbers:Array(String)}) OR v.number IN {numbers:Array(String)})
    AND (empty({countries:Array(String)}) OR v.country IN {countries:Array(String)})
GROUP BY v.day, v.account, v.number, v.country, v.type
HAVING total != 0 OR free != 0 OR charged != 0
ORDER BY v.day, v.account, v.number, v.country, v.type
