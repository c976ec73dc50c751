-- What a load wrote, beside what it was made from: the same price data is loaded again where a release writes more of it.
ALTER TABLE price_loads ADD COLUMN IF NOT EXISTS layout UInt8 DEFAULT 1;
