-- What readers see of messages: newest values, live generations, summed over the events partitions.
CREATE VIEW IF NOT EXISTS v_messages AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.category AS category,
    counters.template AS template,
    sum(counters.total) AS total,
    sum(counters.sent) AS sent,
    sum(counters.delivered) AS delivered,
    sum(counters.read) AS read,
    sum(counters.not_delivered) AS not_delivered
FROM messages AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, category, template;
