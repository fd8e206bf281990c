"""The console: API and pages, authorisation, playback.

What each module knows:

* ``parts``      what the console is given: register, vault, journal, clock, health
* ``access``     who is asking and what they may reach: the one mechanism, declared by every route
* ``sessions``   cookies, bearer tokens, CSRF, rate limits of sign-ins
* ``viewings``   a stated reason, journalled, turned into a token that opens one recording for a while
* ``media``      the bytes: Range requests, decrypted on the fly, under a live viewing
* ``actions``    what people do, once, for API and pages alike
* ``api``        JSON under ``/api/v1``; ``pages`` HTML; ``status`` for machines; ``static`` css and js
* ``texts``      every word that a person reads on a page, in English and French
* ``app``        joins them: ``create_app``

No still image exists here (RULES R1): no poster, thumbnail, sprite or frame export.
"""
