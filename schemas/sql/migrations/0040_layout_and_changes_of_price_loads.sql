-- layout: what a load wrote, beside what it was made from; the same price data is loaded again where a release writes more
-- of it. changes: the days from which on something is priced otherwise than the day before, by price_list or by plans.
ALTER TABLE price_loads
    ADD COLUMN IF NOT EXISTS layout UInt8 DEFAULT 1,
    ADD COLUMN IF NOT EXISTS changes Array(Date32);
