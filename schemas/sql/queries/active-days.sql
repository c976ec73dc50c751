-- New active users of each day, over all countries. number '' = the whole account.
SELECT
    v.account AS account,
    v.day AS day,
    v.number AS number,
    v.rule AS rule,
    sum(v.users) AS users
FROM v_active_users AS v
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
    AND v.country = ''
GROUP BY v.account, v.day, v.number, v.rule
HAVING users != 0
ORDER BY v.account, v.day, v.number, v.rule
