-- What readers see of active_users: newest values, live generations, summed over the events partitions.
CREATE VIEW IF NOT EXISTS v_active_users AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.rule AS rule,
    sum(counters.users) AS users
FROM active_users AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, rule;
