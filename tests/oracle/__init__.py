"""A second, deliberately slow implementation of metering.md §1-§5, to hold the real one against.

Owns nothing that production uses, and imports nothing of the project but ``schemas.events`` and
``schemas.rows``: an oracle that shares code with what it judges would share its faults. Does not own identity
linking (§7), lateness (§6) or money (§8): the user of an event is ``Event.user_key``.
"""
