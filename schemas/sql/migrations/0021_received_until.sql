-- When the newest record was received that is counted up to a mark, so that a reader knows how fresh the rows are.
-- 1970-01-01 = not noted, as in marks of earlier versions.
ALTER TABLE flush_progress ADD COLUMN IF NOT EXISTS received_until DateTime64(3, 'UTC');
