-- Outgoing messages by day and kind. template: 1 = true, 0 = false, -1 = null.
-- Reads the table as its view does, which would be planned twice.
SELECT
    toString(v.day) AS day,
    v.account AS account,
    v.number AS number,
    v.country AS country,
    v.category AS category,
    v.template AS template,
    sum(v.total) AS total,
    sum(v.sent) AS sent,
    sum(v.delivered) AS delivered,
    sum(v.read) AS read,
    sum(v.not_delivered) AS not_delivered
FROM messages AS v FINAL
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND v.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
    AND (empty({numbers:Array(String)}) OR v.number IN {numbers:Array(String)})
    AND (empty({countries:Array(String)}) OR v.country IN {countries:Array(String)})
GROUP BY v.day, v.account, v.number, v.country, v.category, v.template
HAVING total != 0 OR sent != 0 OR delivered != 0 OR read != 0 OR not_delivered != 0
ORDER BY v.day, v.account, v.number, v.country, v.category, v.template
