-- Merging replaces parts that an insert brought safely to the disk by a new one. Without this setting the new part may
-- still be in memory when the old ones are removed, so that a power loss takes acknowledged rows with it. The counter
-- tables have had it from the start.
ALTER TABLE installation MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE generations MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE flush_progress MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE schema_migrations MODIFY SETTING min_rows_to_fsync_after_merge = 1;
