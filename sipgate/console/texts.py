"""What people read: one catalogue a language, dates and lengths, and which language a browser asks for."""

from __future__ import annotations

from datetime import UTC, datetime

from sipgate.console import english, french

CATALOGUES: dict[str, dict[str, str]] = {"en": english.TEXTS, "fr": french.TEXTS}
LANGUAGES = (("en", "English"), ("fr", "Français"))
DEFAULT = "en"


class Words:
    """One language's words. An unknown key is a KeyError: templates are tested."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = CATALOGUES[language]

    def __call__(self, key: str, **values: object) -> str:
        """The text of ``key`` with ``values`` in their places."""
        text = self._texts[key]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in self._texts

    def day(self, at: float) -> str:
        """``21 Nov 2026``, in the server's time zone. ``at``: Unix seconds."""
        local = datetime.fromtimestamp(at, UTC).astimezone()
        month = self._texts["months"].split()[local.month - 1]
        return self("day", day=local.day, month=month, year=local.year)

    def moment(self, at: float) -> str:
        """``21 Nov 2026, 10:31``, in the server's time zone. ``at``: Unix seconds."""
        return self("moment", day=self.day(at), time=datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M"))

    def length(self, seconds: float) -> str:
        """``2 min 05 s``."""
        whole = round(seconds)
        if whole < 60:
            return self("length.seconds", seconds=whole)
        if whole < 3600:
            return self("length.minutes", minutes=whole // 60, seconds=f"{whole % 60:02}")
        return self("length.hours", hours=whole // 3600, minutes=f"{whole // 60 % 60:02}")


def language_for(chosen: str | None, accepts: str | None) -> str:
    """The language chosen before (a cookie), or the first that the browser accepts and we have, or English."""
    if chosen in CATALOGUES:
        return chosen
    for part in (accepts or "").split(","):
        code = part.partition(";")[0].strip().lower().partition("-")[0]
        if code in CATALOGUES:
            return code
    return DEFAULT
