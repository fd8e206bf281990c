"""Two real telephones call each other; a third registers with SIPp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sipgate.errors import PeerError
from sipgate.phones.telephone import Registration, Telephone
from tests.peers.recording_client import needs_pjsua2
from tests.peers.sipp_answering import Sipp
from tests.peers.speech import Dialogue, compare, dialogue, piecewise, read_wav

pytestmark = [pytest.mark.peer, needs_pjsua2]

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def telephones() -> Iterator[tuple[Telephone, Telephone]]:
    with Telephone("2101") as first, Telephone("2102") as second:
        yield first, second


@pytest.fixture(scope="module")
def five_seconds(tmp_path_factory: pytest.TempPathFactory) -> Dialogue:
    return dialogue(tmp_path_factory.mktemp("five"), 5.0)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_each_hears_what_the_other_says(tmp_path: Path, five_seconds: Dialogue, transport: str) -> None:
    heard = tmp_path / "at-caller.wav", tmp_path / "at-callee.wav"
    with Telephone("2101", transport=transport) as first, Telephone("2102", transport=transport) as second:  # type: ignore[arg-type]  # parametrized
        call = first.call(second.address, play=five_seconds.caller, record=heard[0])
        incoming = second.ringing()
        incoming.answer(play=five_seconds.callee, record=heard[1])
        call.await_answer()
        with pytest.raises(PeerError, match="in time"):
            incoming.wait(within=5.0)  # nobody ends it by himself
        ends = call.hang_up(), incoming.wait(within=5.0)
    assert [end.ended_by_far_end for end in ends] == [False, True]
    for end, path, said in zip(ends, heard, (five_seconds.callee, five_seconds.caller), strict=True):
        assert end.answered_at_ns is not None
        assert end.ended_at_ns - end.answered_at_ns == pytest.approx(5 * SECOND, abs=0.3 * SECOND)
        assert piecewise(read_wav(path), read_wav(said)) > 0.98
        assert abs(compare(read_wav(path), read_wav(said))[0]) < 0.2
        assert read_wav(path).size / 8000 == pytest.approx(5.0, abs=0.2)


def test_keys_pressed_at_one_end_are_heard_at_the_other(telephones: tuple[Telephone, Telephone]) -> None:
    first, second = telephones
    call = first.call(second.address)
    incoming = second.ringing()
    incoming.answer()
    call.await_answer()
    call.press("*9#0")
    assert incoming.hear(4) == "*9#0"
    incoming.hang_up()
    assert call.wait(within=5.0).ended_by_far_end


def test_a_declined_call_is_never_answered(telephones: tuple[Telephone, Telephone]) -> None:
    first, second = telephones
    call = first.call(second.address)
    assert second.ringing().decline(486).answered_at_ns is None
    with pytest.raises(PeerError, match="not answered: status 486"):
        call.await_answer()


def test_a_caller_who_gives_up_is_a_cancelled_call(telephones: tuple[Telephone, Telephone]) -> None:
    first, second = telephones
    call = first.call(second.address)
    incoming = second.ringing()
    assert call.hang_up().status == 487
    end = incoming.wait(within=5.0)
    assert end.ended_by_far_end
    assert end.answered_at_ns is None


def test_a_telephone_holds_four_calls_and_refuses_the_fifth(telephones: tuple[Telephone, Telephone]) -> None:
    first, second = telephones
    calls, answered = [], []
    for _ in range(4):
        calls.append(first.call(second.address))
        answered.append(second.ringing())
        answered[-1].answer()
        calls[-1].await_answer()
    with pytest.raises(PeerError, match="four calls at most"):
        first.call(second.address)
    for incoming in answered:
        incoming.hang_up()
    calls[-1].wait(within=5.0)  # the others came before it, and nobody asked for their end
    again = first.call(second.address)
    assert second.ringing().decline().status == 603
    assert again.wait(within=5.0).status == 603


def test_a_telephone_registers_with_its_password(tmp_path: Path) -> None:
    with Sipp(tmp_path, "registrar") as registrar:
        known = Registration(registrar.uri.replace("peer@", ""), "2101", "correct horse", "pbx.example")
        with Telephone("2101", registration=known):
            assert registrar.succeeded()
    assert "correct horse" not in repr(known)
    assert "correct horse" not in registrar._log.read_text()


def test_a_wrong_password_is_an_error_with_its_status(tmp_path: Path) -> None:
    with Sipp(tmp_path, "registrar") as registrar:
        stranger = Registration(registrar.uri.replace("peer@", ""), "2101", "wrong", "pbx.example")
        with pytest.raises(PeerError, match="cannot register: status 403"):
            Telephone("2101", registration=stranger)
