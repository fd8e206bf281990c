"""The client's errors, on one page. Messages say what failed and what to do; they never name a call."""

from __future__ import annotations


class ClientError(Exception):
    """Root of the tree. ``exit_status`` is the command line's."""

    exit_status = 1


class EnrolmentError(ClientError):
    """The workstation is not enrolled, or cannot be with this server and code."""

    exit_status = 2


class DesktopError(ClientError):
    """Windows cannot be filmed on this desktop, or no longer. There is no fall-back to the screen (R3)."""


class SignError(ClientError):
    """The sign is not on the screen: then nothing is filmed (R9)."""


class SpoolError(ClientError):
    """Sealed segments cannot be kept: disk full, ceiling reached, folder unusable. The film stops."""


class FilmError(ClientError):
    """A picture cannot be encoded. The film stops."""
