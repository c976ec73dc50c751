-- Conversations by day and type, as pricing takes them.
-- Reads the table as its view does, which would be planned twice.
SELECT
    v.account AS account,
    v.day AS day,
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
GROUP BY v.account, v.day, v.number, v.country, v.type
HAVING total != 0
ORDER BY v.account, v.day, v.number, v.country, v.type
