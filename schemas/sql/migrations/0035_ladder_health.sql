-- What became of messages some time after they were first heard of. Health of the traffic, not totals: kept a month.
-- writer = one life of a process, so that a repeated insert is the same row, and two lives within a minute are two.
CREATE TABLE IF NOT EXISTS ladder_health
(
    minute DateTime('UTC'),
    account String,
    number String,
    partition UInt16,
    writer String,
    messages UInt64,
    silent UInt64,
    read_without_delivered UInt64,
    delivered_without_sent UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (account, minute, number, partition, writer)
TTL minute + INTERVAL 35 DAY;
