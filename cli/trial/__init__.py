"""A whole convometer under faults, and what it counted against the truth: what ``selftest`` and the crash tests run."""
