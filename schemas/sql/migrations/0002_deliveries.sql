-- Delivered messages by everything that pricing asks. billable: 1/0/-1 = yes/no/not said.
CREATE TABLE IF NOT EXISTS deliveries
(
    day Date CODEC(Delta, ZSTD(1)),
    account String CODEC(ZSTD(1)),
    number String CODEC(ZSTD(1)),
    country LowCardinality(String),
    category LowCardinality(String),
    template Int8 CODEC(ZSTD(1)),
    pricing_type LowCardinality(String),
    billable Int8 CODEC(ZSTD(1)),
    service_window Int8 CODEC(ZSTD(1)),
    free_entry_point Int8 CODEC(ZSTD(1)),
    delivered Int64 CODEC(T64, ZSTD(1)),
    partition UInt16 CODEC(ZSTD(1)),
    generation UInt16 CODEC(ZSTD(1)),
    version UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (account, day, number, country, category, template, pricing_type, billable, service_window, free_entry_point, partition, generation)
SETTINGS min_age_to_force_merge_seconds = 300,
         min_age_to_force_merge_on_partition_only = 1,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1;
