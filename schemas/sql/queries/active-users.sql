-- Active users by month: people under both rules, and phones. The rule `phones` holds phones less people.
-- The caller gives whole months, and one country or '' for all.
SELECT
    formatDateTime(v.day, '%Y-%m') AS month,
    v.account AS account,
    v.number AS number,
    sumIf(v.users, v.rule = 'any') AS mau,
    sumIf(v.users, v.rule = 'both') AS mau_both,
    sumIf(v.users, v.rule IN ('any', 'phones')) AS mau_phones
FROM v_active_users AS v
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
    AND (empty({numbers:Array(String)}) OR v.number IN {numbers:Array(String)})
    AND v.country = {country:String}
GROUP BY month, v.account, v.number
HAVING mau != 0 OR mau_both != 0 OR mau_phones != 0
ORDER BY month, v.account, v.number
