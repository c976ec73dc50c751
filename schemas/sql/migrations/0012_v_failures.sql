-- What readers see of failures: newest values, live generations, summed over the events partitions.
CREATE VIEW IF NOT EXISTS v_failures AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.category AS category,
    counters.template AS template,
    counters.error_code AS error_code,
    sum(counters.not_delivered) AS not_delivered
FROM failures AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, category, template, error_code;
