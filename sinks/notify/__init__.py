"""Ways out for notices about limits: webhooks, e-mail, and the table in ClickHouse."""
