-- Which price data is in force: that of the newest load. What earlier loads brought stays, so that a report says by its
-- digest what it was made with, and can be made again.
CREATE TABLE IF NOT EXISTS price_loads
(
    digest String,
    loaded_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(loaded_at)
ORDER BY digest
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
