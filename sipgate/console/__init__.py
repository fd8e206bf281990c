"""The console: API and pages, authorisation, playback."""
