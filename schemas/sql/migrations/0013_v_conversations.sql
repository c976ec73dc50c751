-- What readers see of conversations: newest values, live generations, summed over the events partitions.
CREATE VIEW IF NOT EXISTS v_conversations AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.type AS type,
    counters.category AS category,
    sum(counters.total) AS total,
    sum(counters.free) AS free,
    sum(counters.charged) AS charged
FROM conversations AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, type, category;
