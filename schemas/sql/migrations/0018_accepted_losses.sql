-- What an operator accepted to miss for good: rows of days that have left the worker's state, as far as they were
-- changed by the commits after from_sequence up to to_sequence. Written by hand only; docs/guides/clickhouse.md.
CREATE TABLE IF NOT EXISTS accepted_losses
(
    partition UInt16,
    generation UInt16,
    from_sequence UInt64,
    to_sequence UInt64,
    accepted_at DateTime64(3, 'UTC') DEFAULT now64(3),
    accepted_by String DEFAULT currentUser()
)
ENGINE = MergeTree
ORDER BY (generation, partition, to_sequence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
