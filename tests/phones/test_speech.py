"""The dialogue that telephones say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sipgate.errors import PeerError
from sipgate.phones.speech import RATE, write_dialogue
from tests.peers.speech import Dialogue, compare, dialogue, read_wav


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Dialogue:
    return dialogue(tmp_path_factory.mktemp("minute"), 60.0)


def test_both_wavs_are_exactly_as_long_as_asked(tmp_path: Path) -> None:
    odd = dialogue(tmp_path, 7.123)
    assert read_wav(odd.caller).size == read_wav(odd.callee).size == round(7.123 * RATE)


def test_the_same_length_gives_the_same_sound(tmp_path: Path, minute: Dialogue) -> None:
    again = dialogue(tmp_path, 60.0)
    assert again.caller.read_bytes() == minute.caller.read_bytes()
    assert again.callee.read_bytes() == minute.callee.read_bytes()
    assert again.turns == minute.turns


def test_the_sides_take_turns_the_caller_first_and_cut_in_now_and_then(minute: Dialogue) -> None:
    assert [turn.side for turn in minute.turns] == [number % 2 for number in range(len(minute.turns))]
    assert minute.turns[0].begins == pytest.approx(0.2)
    waits = [after.begins - before.ends for before, after in zip(minute.turns, minute.turns[1:], strict=False)]
    assert max(waits) == pytest.approx(0.25)
    assert min(waits) == pytest.approx(-0.3)
    assert all(0.5 < turn.ends - turn.begins <= 3.0 for turn in minute.turns[:-1])


def test_each_side_is_loud_in_its_own_turns_and_silent_elsewhere(minute: Dialogue) -> None:
    for side, path in enumerate((minute.caller, minute.callee)):
        samples = read_wav(path)
        speaking = np.zeros(samples.size, bool)
        for turn in minute.turns:
            if turn.side == side:
                speaking[round(turn.begins * RATE) : round(turn.ends * RATE)] = True
        assert np.abs(samples[speaking].astype(int)).max() > 10_000
        assert not samples[~speaking].any()


def test_within_three_seconds_both_have_spoken(spoken: Dialogue) -> None:
    assert np.abs(read_wav(spoken.caller).astype(int)).max() > 5_000
    assert np.abs(read_wav(spoken.callee).astype(int)).max() > 5_000


def test_the_two_sides_are_two_sounds(minute: Dialogue) -> None:
    assert compare(read_wav(minute.caller), read_wav(minute.callee))[1] < 0.3


def test_missing_voices_are_an_error_that_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="apt-get install pocketsphinx-testdata"):
        write_dialogue(tmp_path / "a.wav", tmp_path / "b.wav", 3.0, voices=tmp_path)
    assert not (tmp_path / "a.wav").exists()
