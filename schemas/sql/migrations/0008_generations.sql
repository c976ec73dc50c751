-- Which generations of rows are read. A rebuild writes a new generation beside the old one, then switches here.
CREATE TABLE IF NOT EXISTS generations
(
    generation UInt16,
    live UInt8,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY generation
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Generation 0 is live from the start; a repeated migration loses to any later switch.
INSERT INTO generations (generation, live, version) VALUES (0, 1, 0);
