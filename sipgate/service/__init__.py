"""The one place where the parts are made and joined. It decides nothing: core does; it does nothing: the parts do.

``server`` makes the parts, ``stage`` carries core's effects to them, ``policy`` brings core what is in force,
``finishing`` takes over when a call has ended, ``recovery`` when a predecessor was killed, ``health`` says how it is.
"""
