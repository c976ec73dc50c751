"""The process, not the business: settings, clock, logging and metric names."""
