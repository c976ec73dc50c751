-- By which currency's card an account or number is charged, from one day to another, both included: plans resolved. number
-- '' = the whole account; a number's own plan goes before it. 2299-12-31 = no end. layout: see 0040.
CREATE TABLE IF NOT EXISTS plan_currencies
(
    digest String,
    layout UInt8,
    account String,
    number String,
    begins Date32,
    ends Date32,
    currency LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, layout, account, number, begins)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
