"""Where calls are observed. Each tap yields the same events of ``sipgate.core.events`` and decides nothing."""
