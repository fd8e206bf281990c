"""Fuzzing, guided by coverage (atheris): what peers may send, and what must come of it. ``run`` is the way in."""
