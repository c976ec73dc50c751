-- A mark names the mark it follows, and the last few stay, each in a slot of its own: where a mark stands without the
-- one it follows, the database was rolled back under a flush, and what lies between is not there. 0 = follows none.
-- epoch = which opening of the partition made the commit that the mark names: two copies of one data directory count
-- their commits alike, but never share an epoch. 0 = not noted.
ALTER TABLE flush_progress
    ADD COLUMN IF NOT EXISTS epoch UInt64,
    ADD COLUMN IF NOT EXISTS previous UInt64,
    ADD COLUMN IF NOT EXISTS slot UInt8,
    MODIFY ORDER BY (generation, partition, slot);
