"""The door of the embedded broker, attacked with bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.errors import WorkstationError
from sipgate.workstations.admission import Admission, Doing, Peer, UnsupportedVersionError, admit, check_later

DESK = Peer("desk-1", is_server=False)
SERVER = Peer("sipgate", is_server=True)


def text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def connect(client_id: bytes = b"x", flags: int = 0, keep_alive: int = 60, rest: bytes = b"", level: int = 4) -> bytes:
    body = text(b"MQTT") + struct.pack(">BBH", level, flags, keep_alive) + text(client_id) + rest
    length = bytes([len(body)]) if len(body) < 128 else bytes([0x80 | len(body) % 128, len(body) // 128])
    return b"\x10" + length + body


def test_whatever_it_asks_for_a_peer_gets_its_own_client_id_and_a_clean_session() -> None:
    assert admit(connect(b"somebody else", keep_alive=7), DESK) == Admission(connect(b"desk-1", 0x02, 7), 7)


def test_user_name_and_password_are_not_passed_on() -> None:
    asked = connect(b"x", 0xC0, rest=text(b"user") + text(b"password"))
    assert admit(asked, DESK).packet == connect(b"desk-1", 0x02)


def test_its_own_last_will_is_passed_on() -> None:
    will = text(b"sipgate/desk-1/state") + text(b"gone" * 100)
    assert admit(connect(flags=0x2C, rest=will), DESK).packet == connect(b"desk-1", 0x2E, rest=will)


@pytest.mark.parametrize(
    "topic", [b"sipgate/desk-2/state", b"sipgate/desk-1/command", b"sipgate/desk-2/command", b"\xff"]
)
def test_a_last_will_for_anything_else_is_refused(topic: bytes) -> None:
    with pytest.raises(WorkstationError, match="last will"):
        admit(connect(flags=0x2C, rest=text(topic) + text(b"gone")), DESK)


def test_another_version_is_told_so() -> None:
    with pytest.raises(UnsupportedVersionError):
        admit(connect(level=5), DESK)


@given(st.binary(min_size=2, max_size=200), st.booleans())
def test_any_bytes_are_admitted_as_oneself_or_refused(noise: bytes, prefixed: bool) -> None:
    packet = connect()[:8] + noise if prefixed else noise
    try:
        found = admit(packet, DESK)
    except WorkstationError:
        return
    assert text(b"desk-1") in found.packet
    assert admit(found.packet, DESK) == found


@pytest.mark.parametrize("first", [0x10, 0x00, 0xF0, 0x36, 0x3F])
def test_what_must_not_come_after_connect_ends_the_connection(first: int) -> None:
    with pytest.raises(WorkstationError):
        check_later(first)


@pytest.mark.parametrize("first", [0x30, 0x32, 0x33, 0x34, 0x40, 0x62, 0x82, 0xA2, 0xC0, 0xE0])
def test_what_may_come_is_passed_on(first: int) -> None:
    check_later(first)


@given(st.text(max_size=40))
def test_a_workstation_may_use_its_own_two_topics_only(topic: str) -> None:
    for candidate in (topic, f"sipgate/{topic}/command", f"sipgate/desk-1/{topic}", f"{topic}sipgate/desk-1/state"):
        allowed = {doing for doing in Doing if DESK.may(doing, candidate)}
        if candidate == "sipgate/desk-1/command":
            assert allowed == {Doing.SUBSCRIBE, Doing.RECEIVE}
        elif candidate == "sipgate/desk-1/state":
            assert allowed == {Doing.PUBLISH}
        else:
            assert allowed == set()


def test_the_server_may_use_sipgates_topics_only() -> None:
    assert SERVER.may(Doing.SUBSCRIBE, "sipgate/+/state")
    assert not SERVER.may(Doing.SUBSCRIBE, "#")
