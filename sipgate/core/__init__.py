"""What decides. Pure: ``handle(event, now) -> effects``; no clock, no I/O, no randomness."""
