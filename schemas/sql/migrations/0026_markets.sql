-- The market (price zone) of a country from a day on; 1970-01-01 = ever. A country without a row is in `Other`.
CREATE TABLE IF NOT EXISTS markets
(
    digest String,
    country LowCardinality(String),
    effective Date32,
    market LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, country, effective)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
