-- layout: by which release's rules the resolved tables were written. The same price data is loaded again where that is
-- another one, and what an earlier release resolved is never mixed with it. changes: the days from which on something may
-- be priced otherwise than the day before.
ALTER TABLE price_loads
    ADD COLUMN IF NOT EXISTS layout UInt8 DEFAULT 1,
    ADD COLUMN IF NOT EXISTS changes Array(Date32);
-- What readers see of the price list: the newest load.
CREATE VIEW IF NOT EXISTS v_price_list AS
SELECT * EXCEPT (digest, layout)
FROM price_list FINAL
WHERE (digest, layout) = (SELECT argMax((digest, layout), loaded_at) FROM price_loads);
