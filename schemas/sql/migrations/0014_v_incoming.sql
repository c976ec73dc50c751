-- What readers see of incoming: newest values, live generations, summed over the events partitions.
CREATE VIEW IF NOT EXISTS v_incoming AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    sum(counters.count) AS count
FROM incoming AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country;
