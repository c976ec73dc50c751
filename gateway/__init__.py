"""HTTP in: verify, normalise, append to the log, and answer 200 only once the append is durable."""
