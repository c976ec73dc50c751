-- Business numbers and countries of accounts, with the first and the last day of any count.
SELECT
    number AS number,
    country AS country,
    min(day) AS first_day,
    max(day) AS last_day
FROM
(
    SELECT number, country, day FROM v_messages WHERE account IN {accounts:Array(String)}
    UNION ALL
    SELECT number, country, day FROM v_conversations WHERE account IN {accounts:Array(String)}
    UNION ALL
    SELECT number, country, day FROM v_incoming WHERE account IN {accounts:Array(String)}
)
GROUP BY number, country
ORDER BY number, country
