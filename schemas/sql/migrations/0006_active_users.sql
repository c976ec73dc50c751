-- Users on the day of their first activity in its month. number '' = whole account, country '' = all countries.
CREATE TABLE IF NOT EXISTS active_users
(
    day Date CODEC(Delta, ZSTD(1)),
    account String CODEC(ZSTD(1)),
    number String CODEC(ZSTD(1)),
    country LowCardinality(String),
    rule LowCardinality(String),
    users Int64 CODEC(T64, ZSTD(1)),
    partition UInt16 CODEC(ZSTD(1)),
    generation UInt16 CODEC(ZSTD(1)),
    version UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (account, day, number, country, rule, partition, generation)
SETTINGS min_age_to_force_merge_seconds = 300,
         min_age_to_force_merge_on_partition_only = 1,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1;
