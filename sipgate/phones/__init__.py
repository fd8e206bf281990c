"""Real telephones (pjsua2), each in a process of its own that is allowed to die."""
