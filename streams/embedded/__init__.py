"""The embedded durable log and the Faust transport over it, for one process on one machine.

Owns storage (``log`` and the modules below it) and the ``embedded://`` transport (``transport`` and below). Does
not own what the records mean.
"""
