"""SIP for a session recording server, sans-IO but for ``transport`` (RFC 3261, 7865, 7866, 8866)."""
