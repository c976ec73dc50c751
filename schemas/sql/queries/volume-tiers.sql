-- Volume tiers that the provider reported.
SELECT
    formatDateTime(v.day, '%Y-%m') AS month,
    v.account AS account,
    v.region AS region,
    v.category AS category,
    v.lower AS lower,
    v.upper AS upper,
    v.updated_at AS updated_at
FROM v_volume_tiers AS v
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
ORDER BY month, v.account, v.region, v.category, v.lower
