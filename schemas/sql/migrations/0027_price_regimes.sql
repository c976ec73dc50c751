-- The price regimes by load, from 00:00 of the day in the account's zone.
CREATE TABLE IF NOT EXISTS price_regimes
(
    digest String,
    effective Date32,
    unit LowCardinality(String),
    utility_free_in_service_window Bool,
    free_entry_point_seconds UInt32,
    service LowCardinality(String),
    service_allotment UInt32,
    service_allotment_per LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, effective)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
