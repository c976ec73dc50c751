-- Delivered messages by everything that pricing asks.
-- Reads the table as its view does, which would be planned twice.
SELECT
    v.account AS account,
    v.day AS day,
    v.number AS number,
    v.country AS country,
    v.category AS category,
    v.template AS template,
    v.pricing_type AS pricing_type,
    v.billable AS billable,
    v.service_window AS service_window,
    v.free_entry_point AS free_entry_point,
    sum(v.delivered) AS delivered
FROM deliveries AS v FINAL
WHERE v.day BETWEEN {first_day:Date} AND {last_day:Date}
    AND v.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
    AND (empty({accounts:Array(String)}) OR v.account IN {accounts:Array(String)})
GROUP BY
    v.account, v.day, v.number, v.country, v.category, v.template,
    v.pricing_type, v.billable, v.service_window, v.free_entry_point
HAVING delivered != 0
ORDER BY v.account, v.day, v.number, v.country, v.category, v.template, v.pricing_type
