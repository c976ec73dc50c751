-- What a plan asks for a charged conversation. market '' = in every market that has no price of its own.
CREATE TABLE IF NOT EXISTS plan_conversation_prices
(
    digest String,
    account String,
    number String,
    effective Date32,
    market LowCardinality(String),
    type LowCardinality(String),
    price Decimal(18, 6)
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, account, number, effective, market, type)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
