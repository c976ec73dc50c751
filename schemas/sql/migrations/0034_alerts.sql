-- Notices about limits: a threshold was crossed, or the count fell back below it. One row an id; repeated writes are the same.
CREATE TABLE IF NOT EXISTS alerts
(
    id String,
    month Date,
    account String,
    number String,
    limit_name LowCardinality(String),
    threshold LowCardinality(String),
    n UInt32,
    kind LowCardinality(String),
    level LowCardinality(String),
    level_before LowCardinality(String),
    threshold_count UInt64,
    limit UInt64,
    used Int64,
    cause LowCardinality(String),
    is_past UInt8,
    received_until DateTime64(3, 'UTC'),
    noticed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(noticed_at)
ORDER BY (account, month, number, limit_name, threshold, n, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
