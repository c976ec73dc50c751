"""The ``convometer`` command line: the only place that wires the roles together, one file per verb."""
