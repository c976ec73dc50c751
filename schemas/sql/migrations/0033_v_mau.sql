-- Monthly active users beside the package of the plan that is in force on the month's last day. number '' = the whole
-- account. Without a plan, package, balance and amau are NULL.
CREATE VIEW IF NOT EXISTS v_mau AS
SELECT
    months.month AS month,
    months.account AS account,
    months.number AS number,
    months.mau_any AS mau_any,
    months.mau_both AS mau_both,
    months.mau_phones AS mau_phones,
    if(plan.account = '' OR plan.until < months.last_day, NULL, plan.mau_package) AS package,
    if(plan.mau_rule = 'both', months.mau_both, months.mau_any) AS mau,
    if(isNull(package), NULL, greatest(0, toInt64(package) - mau)) AS balance,
    if(isNull(package), NULL, greatest(0, mau - toInt64(package))) AS amau
FROM
(
    SELECT
        toStartOfMonth(v.day) AS month,
        toDate32(toLastDayOfMonth(v.day)) AS last_day,
        v.account AS account,
        v.number AS number,
        sumIf(v.users, v.rule = 'any') AS mau_any,
        sumIf(v.users, v.rule = 'both') AS mau_both,
        sumIf(v.users, v.rule IN ('any', 'phones')) AS mau_phones
    FROM v_active_users AS v
    WHERE v.country = ''
    GROUP BY month, last_day, account, number
) AS months
ASOF LEFT JOIN v_plans AS plan
    ON months.account = plan.account AND months.number = plan.number AND months.last_day >= plan.effective;
