"""How the tables came to be, step by step (alembic). Run by ``Register.migrate``; nobody needs an alembic.ini.

A developer makes the next step in ``versions/``, by hand, beside the last one; a test compares models and steps.
"""
