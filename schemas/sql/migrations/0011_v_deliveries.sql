-- What readers see of deliveries: newest values, live generations, summed over the events partitions.
CREATE VIEW IF NOT EXISTS v_deliveries AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.category AS category,
    counters.template AS template,
    counters.pricing_type AS pricing_type,
    counters.billable AS billable,
    counters.service_window AS service_window,
    counters.free_entry_point AS free_entry_point,
    sum(counters.delivered) AS delivered
FROM deliveries AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY
    day, account, number, country, category, template,
    pricing_type, billable, service_window, free_entry_point;
