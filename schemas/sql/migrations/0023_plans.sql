-- Plans by load. number '' = the whole account; NULL = not said. Amounts include VAT as given.
CREATE TABLE IF NOT EXISTS plans
(
    digest String,
    account String,
    number String,
    effective Date32,
    activated Date32,
    until Nullable(Date32),
    licence LowCardinality(String),
    price Decimal(18, 6),
    currency LowCardinality(String),
    vat_percent Nullable(Decimal(9, 6)),
    mau_package UInt64,
    mau_rule LowCardinality(String),
    amau_price Nullable(Decimal(18, 6)),
    card_currency LowCardinality(String),
    volume_tiers LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, account, number, effective)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
