"""Viewing tokens: what each opens, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.console.viewings import LIFETIME_SECONDS, Claim, Kind, State, Viewings

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
CLAIM = Claim("ab" * 16, Kind.PLAY, "session-token")
VIEWINGS = Viewings(b"s" * 32)


def test_a_token_opens_what_it_was_made_for_until_it_expires() -> None:
    token, expires = VIEWINGS.issue(CLAIM, NOW)
    assert expires == NOW // SECOND + LIFETIME_SECONDS
    assert VIEWINGS.state(token, CLAIM, NOW) is State.LIVE
    assert VIEWINGS.state(token, CLAIM, expires * SECOND - 1) is State.LIVE
    assert VIEWINGS.state(token, CLAIM, expires * SECOND) is State.EXPIRED


@pytest.mark.parametrize(
    "other",
    [replace(CLAIM, recording="cd" * 16), replace(CLAIM, kind=Kind.EXPORT), replace(CLAIM, session="another")],
    ids=["recording", "kind", "session"],
)
def test_it_opens_no_other_recording_kind_or_session(other: Claim) -> None:
    token, _ = VIEWINGS.issue(CLAIM, NOW)
    assert VIEWINGS.state(token, other, NOW) is State.FOREIGN


def test_it_is_worth_nothing_under_another_secret() -> None:
    token, _ = VIEWINGS.issue(CLAIM, NOW)
    assert Viewings(b"t" * 32).state(token, CLAIM, NOW) is State.FOREIGN


def test_its_expiry_cannot_be_put_off() -> None:
    token, expires = VIEWINGS.issue(CLAIM, NOW)
    later = token.replace(str(expires), str(expires + 1))
    assert later != token
    assert VIEWINGS.state(later, CLAIM, NOW) is State.FOREIGN


@given(st.text(max_size=120))
def test_no_other_text_is_a_token(text: str) -> None:
    assert VIEWINGS.state(text, CLAIM, NOW) is State.FOREIGN


@given(st.integers(0, 120), st.characters())
def test_no_character_of_it_can_change(position: int, character: str) -> None:
    token, _ = VIEWINGS.issue(CLAIM, NOW)
    position %= len(token)
    changed = token[:position] + character + token[position + 1 :]
    expected = State.LIVE if changed == token else State.FOREIGN
    assert VIEWINGS.state(changed, CLAIM, NOW) is expected


def test_its_repr_hides_the_session() -> None:
    assert "session-token" not in repr(CLAIM)
