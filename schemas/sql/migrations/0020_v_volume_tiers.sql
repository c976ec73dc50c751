-- What readers see of volume_tiers: newest values, live generations. One partition owns all of an account's tiers.
CREATE VIEW IF NOT EXISTS v_volume_tiers AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.region AS region,
    counters.category AS category,
    counters.lower AS lower,
    counters.upper AS upper,
    min(counters.updated_at) AS updated_at
FROM volume_tiers AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, region, category, lower, upper;
