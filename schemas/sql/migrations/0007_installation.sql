-- Which installation (state, log) this database belongs to. One row; the oldest counts.
CREATE TABLE IF NOT EXISTS installation
(
    id String,
    created_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (created_at, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
