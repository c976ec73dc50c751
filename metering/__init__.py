"""The pure core: ``(state, events) -> (state, differences)``. Knows no clock, no network, no stream library."""
