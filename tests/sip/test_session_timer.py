"""Session timers (RFC 4028), as the side that was called."""

from __future__ import annotations

import pytest

from sipgate.sip.call import Call, Invited, Modified, Over
from sipgate.sip.timers import SECOND
from tests.peers.sip_messages import field_of, request, status_of, tag_of
from tests.sip.test_uas import Client

TIMER = "Supported: timer"


class Timed(Client):
    """A client that asks for a session timer."""

    def session(self, expires: str, *extra: str) -> tuple[Call, bytes]:
        """A call in progress, and the 200 to its INVITE."""
        (event,) = self.send(request(branch="z9hG4bKinvite", extra=[f"Session-Expires: {expires}", *extra]))
        assert isinstance(event, Invited)
        self.uas.answer(event.call, b"", self.now)
        (ok,) = self.got()
        self.tag = tag_of(field_of(ok, "To"))
        self.send(request("ACK", branch="z9hG4bKack", to_tag=self.tag))
        return event.call, ok

    def refresh(self, method: str, expires: str | None, sequence: int = 2) -> bytes:
        """Refresh by a request of the client; the 200 to it."""
        extra = [TIMER, *([f"Session-Expires: {expires}"] if expires else [])]
        branch = f"z9hG4bK{sequence}"
        (event,) = self.send(request(method, branch=branch, to_tag=self.tag, sequence=sequence, extra=extra))
        assert isinstance(event, Modified)
        self.uas.answer(event.call, b"", self.now)
        (ok,) = self.got()
        if method == "INVITE":
            self.send(request("ACK", branch="z9hG4bKack2", to_tag=self.tag, sequence=sequence))
        return ok


@pytest.fixture
def client() -> Timed:
    return Timed()


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ("1800", "1800;refresher=uac"),
        ("90;refresher=uac", "90;refresher=uac"),
        ("600 ; Refresher=UAS", "600;refresher=uas"),
    ],
)
def test_the_client_refreshes_unless_it_wants_us_to(client: Timed, asked: str, agreed: str) -> None:
    _, ok = client.session(asked, TIMER)
    assert field_of(ok, "Session-Expires") == agreed
    assert field_of(ok, "Require") == ("timer" if "uac" in agreed else "")


def test_a_client_that_says_nothing_of_timers_gets_none(client: Timed) -> None:
    call, ok = client.session("1800")
    assert field_of(ok, "Session-Expires") == ""
    assert client.wait(4000 * SECOND) == []
    assert call.timer is None


def test_a_client_that_refreshes_but_forgets_supported_is_taken_at_its_word(client: Timed) -> None:
    _, ok = client.session("1800;refresher=uac")
    assert (field_of(ok, "Session-Expires"), field_of(ok, "Require")) == ("1800;refresher=uac", "")


def test_a_session_that_nobody_refreshes_ends_with_a_bye_a_little_before_its_time(client: Timed) -> None:
    call, _ = client.session("1800", TIMER)
    assert client.wait(1767 * SECOND) == []
    assert client.wait(1768 * SECOND) == [Over(call, established=True)]
    assert [data[:4] for data in client.got()] == [b"BYE "]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_refresh_begins_the_time_anew(client: Timed, method: str) -> None:
    call, _ = client.session("90", TIMER)
    client.wait(50 * SECOND)
    assert field_of(client.refresh(method, "90"), "Session-Expires") == "90;refresher=uac"
    assert client.wait(109 * SECOND) == []
    assert client.wait(110 * SECOND) == [Over(call, established=True)]


def test_a_refresh_that_asks_for_no_timer_ends_it(client: Timed) -> None:
    client.session("90", TIMER)
    assert field_of(client.refresh("UPDATE", None), "Session-Expires") == ""
    assert client.wait(4000 * SECOND) == []


def test_an_ended_session_is_not_ended_again_by_its_timer(client: Timed) -> None:
    client.session("90", TIMER)
    client.send(request("BYE", branch="z9hG4bKbye", to_tag=client.tag, sequence=2))
    client.got()
    assert client.wait(4000 * SECOND) == []
    assert client.got() == []


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_too_short_a_time_gets_422_and_the_least(client: Timed, method: str) -> None:
    if method == "UPDATE":
        client.session("1800", TIMER)
    tag = client.tag if method == "UPDATE" else None
    data = request(method, branch="z9hG4bKs", to_tag=tag, sequence=5, extra=["x: 89", TIMER])
    assert client.send(data) == []
    (refusal,) = client.got()
    assert (status_of(refusal), field_of(refusal, "Min-SE")) == (422, "90")


@pytest.mark.parametrize("value", ["", "soon", "-1", "1800;;x", "1800 uac"])
def test_a_malformed_time_gets_400_naming_its_field(client: Timed, value: str) -> None:
    assert client.send(request(extra=[f"Session-Expires: {value}", TIMER])) == []
    (refusal,) = client.got()
    assert refusal.startswith(b"SIP/2.0 400 Bad Session-Expires Header Field\r\n")


def _answer_to(data: bytes, status: int) -> bytes:
    via, cseq = field_of(data, "Via"), field_of(data, "CSeq")
    return f"SIP/2.0 {status} x\r\nVia: {via}\r\nCSeq: {cseq}\r\n\r\n".encode()


def test_where_we_refresh_an_update_without_a_body_goes_out_at_half_time_and_again(client: Timed) -> None:
    client.session("600;refresher=uas", TIMER)
    for at in (300, 600):
        client.wait(at * SECOND)
        (update,) = client.got()
        assert update.startswith(b"UPDATE sip:src@127.0.0.1:5060 SIP/2.0\r\n")
        assert field_of(update, "Session-Expires") == "600;refresher=uac"
        assert field_of(update, "Content-Length") == "0"
        assert client.send(_answer_to(update, 200)) == []


@pytest.mark.parametrize("status", [408, 481])
def test_a_client_that_knows_nothing_of_the_session_any_more_has_ended_it(client: Timed, status: int) -> None:
    call, _ = client.session("600;refresher=uas", TIMER)
    client.wait(300 * SECOND)
    (update,) = client.got()
    assert client.send(_answer_to(update, status)) == [Over(call, established=True)]


def test_a_client_that_never_answers_our_refresh_has_ended_the_session_when_its_time_is_over(client: Timed) -> None:
    call, _ = client.session("600;refresher=uas", TIMER)
    assert client.wait(567 * SECOND) == []
    assert client.wait(568 * SECOND) == [Over(call, established=True)]


def test_a_client_that_takes_no_update_has_shown_that_it_lives_and_is_not_hung_up(client: Timed) -> None:
    client.session("600;refresher=uas", TIMER)
    for _ in range(4):
        client.wait(client.now + 300 * SECOND)
        (update,) = client.got()
        assert client.send(_answer_to(update, 405)) == []


def test_a_refresh_that_collides_is_backed_off_and_tried_again(client: Timed) -> None:
    client.session("600;refresher=uas", TIMER)
    client.wait(300 * SECOND)
    (update,) = client.got()
    assert client.send(_answer_to(update, 491)) == []
    client.wait(302 * SECOND)
    assert client.got() == []
    client.wait(303 * SECOND)
    (again,) = client.got()
    assert again.startswith(b"UPDATE ")
