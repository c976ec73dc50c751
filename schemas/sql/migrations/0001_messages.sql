-- Outgoing messages by the day of each status. template: 1 = template, 0 = chat, -1 = not said.
-- Values are absolute: the highest version (commit sequence) of a key wins, so writing again changes nothing.
-- Measures are signed so that a fault shows as a negative number instead of a huge one. The settings let old
-- months shrink to one part by themselves, and bring an acknowledged insert to the disk before the acknowledgement.
CREATE TABLE IF NOT EXISTS messages
(
    day Date CODEC(Delta, ZSTD(1)),
    account String CODEC(ZSTD(1)),
    number String CODEC(ZSTD(1)),
    country LowCardinality(String),
    category LowCardinality(String),
    template Int8 CODEC(ZSTD(1)),
    total Int64 CODEC(T64, ZSTD(1)),
    sent Int64 CODEC(T64, ZSTD(1)),
    delivered Int64 CODEC(T64, ZSTD(1)),
    read Int64 CODEC(T64, ZSTD(1)),
    not_delivered Int64 CODEC(T64, ZSTD(1)),
    partition UInt16 CODEC(ZSTD(1)),
    generation UInt16 CODEC(ZSTD(1)),
    version UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (account, day, number, country, category, template, partition, generation)
SETTINGS min_age_to_force_merge_seconds = 300,
         min_age_to_force_merge_on_partition_only = 1,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1;
