-- Volume tiers as the provider reported them. day = 1st of the month for which a tier counts; upper 0 = no limit;
-- updated_at = earliest report, UTC seconds.
CREATE TABLE IF NOT EXISTS volume_tiers
(
    day Date CODEC(Delta, ZSTD(1)),
    account String CODEC(ZSTD(1)),
    number String CODEC(ZSTD(1)),
    region LowCardinality(String),
    category LowCardinality(String),
    lower Int64 CODEC(ZSTD(1)),
    upper Int64 CODEC(ZSTD(1)),
    updated_at Int64 CODEC(T64, ZSTD(1)),
    partition UInt16 CODEC(ZSTD(1)),
    generation UInt16 CODEC(ZSTD(1)),
    version UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (account, day, number, region, category, lower, upper, partition, generation)
SETTINGS min_age_to_force_merge_seconds = 300,
         min_age_to_force_merge_on_partition_only = 1,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1;
