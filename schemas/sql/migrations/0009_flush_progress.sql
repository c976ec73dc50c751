-- How far the rows of an events partition are here; written only after every row up to `sequence` was acknowledged.
-- source_offset is the offset of the next record.
CREATE TABLE IF NOT EXISTS flush_progress
(
    partition UInt16,
    generation UInt16,
    sequence UInt64,
    source_offset Int64,
    flushed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(sequence)
ORDER BY (generation, partition)
SETTINGS min_age_to_force_merge_seconds = 300, fsync_after_insert = 1, fsync_part_directory = 1;
