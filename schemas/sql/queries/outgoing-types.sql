-- Outgoing messages of a span of days by account, number and whether they are templates.
SELECT
    v.account AS account,
    v.number AS number,
    v.template AS template,
    sum(v.total) AS total,
    sum(v.sent) AS sent,
    sum(v.delivered) AS delivered,
    sum(v.read) AS read,
    sum(v.not_delivered) AS not_delivered
FROM v_messages AS v
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
GROUP BY v.account, v.number, v.template
ORDER BY v.account, v.number, v.template
