-- Accounts with any row of a live generation, whatever it says by now.
SELECT account AS account
FROM
(
    SELECT account, generation FROM messages GROUP BY account, generation
    UNION ALL
    SELECT account, generation FROM incoming GROUP BY account, generation
    UNION ALL
    SELECT account, generation FROM active_users GROUP BY account, generation
)
WHERE generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY account
ORDER BY account
