-- Business numbers and countries of accounts, with the first and the last day of any row, whatever it says by now.
-- Conversations are of delivered messages, so that messages name them all.
SELECT
    number AS number,
    country AS country,
    min(first_day) AS first_day,
    max(last_day) AS last_day
FROM
(
    SELECT number, country, generation, min(day) AS first_day, max(day) AS last_day
    FROM messages WHERE account IN {accounts:Array(String)} GROUP BY number, country, generation
    UNION ALL
    SELECT number, country, generation, min(day) AS first_day, max(day) AS last_day
    FROM incoming WHERE account IN {accounts:Array(String)} GROUP BY number, country, generation
)
WHERE generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY number, country
ORDER BY number, country
