-- Messages of the last days by account and day, for what happens now.
SELECT
    account AS account,
    day AS day,
    sum(messages) AS messages,
    sum(delivered) AS delivered,
    sum(read) AS read,
    sum(not_delivered) AS not_delivered,
    sum(incoming) AS incoming
FROM
(
    SELECT account, day, total AS messages, delivered, read, not_delivered, 0 AS incoming
    FROM v_messages WHERE day >= {first_day:Date}
    UNION ALL
    SELECT account, day, 0 AS messages, 0 AS delivered, 0 AS read, 0 AS not_delivered, count AS incoming
    FROM v_incoming WHERE day >= {first_day:Date}
)
GROUP BY account, day
ORDER BY account, day
