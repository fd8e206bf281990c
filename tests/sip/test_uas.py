"""The user agent server: what each request gets, in each situation."""

from __future__ import annotations

from itertools import count

import pytest

from sipgate.sip.call import Call, Invited, Modified, Over, UasEvent
from sipgate.sip.message import MAX_HEADER, Flow
from sipgate.sip.timers import T1
from sipgate.sip.uas import UserAgentServer
from tests.peers import sip_messages as sip
from tests.peers.sip_messages import field_of, request, status_of

UDP = Flow("udp", 1, "127.0.0.1", 5060)
TCP = Flow("tcp", 2, "127.0.0.1", 5060)


class Client:
    """Drives a server with requests; the clock is ``now``."""

    def __init__(self, flow: Flow = UDP, capacity: int = 100) -> None:
        numbers = count(1)
        self.reported: list[tuple[int, str | None]] = []
        self.uas = UserAgentServer(
            lambda: f"drawn{next(numbers)}",
            lambda flow: "<sip:127.0.0.1:5070>;+sip.srs",
            lambda flow: "UDP 127.0.0.1:5070",
            lambda flow, status, reason: self.reported.append((status, reason)),
            capacity,
        )
        self.flow = flow
        self.now = 0

    def send(self, data: bytes) -> list[UasEvent]:
        return self.uas.receive(data, self.flow, self.now)

    def got(self) -> list[bytes]:
        return [data for data, _ in self.uas.outgoing()]

    def wait(self, until: int) -> list[UasEvent]:
        """Run every timer up to ``until``."""
        events: list[UasEvent] = []
        while (at := self.uas.next_timer()) is not None and at <= until:
            self.now = max(self.now, at)
            events += self.uas.handle_timer(self.now)
        self.now = until
        return events

    def invite(self) -> Call:
        (event,) = self.send(request(branch="z9hG4bKinvite"))
        assert isinstance(event, Invited)
        return event.call

    def established(self, *, acknowledged: bool = True) -> tuple[Call, str]:
        """A call in progress, and our tag."""
        call = self.invite()
        self.uas.answer(call, b"sdp", self.now)
        (ok,) = self.got()
        tag = sip.tag_of(field_of(ok, "To"))
        if acknowledged:
            self.send(request("ACK", branch="z9hG4bKack", to_tag=tag))
        return call, tag


@pytest.fixture
def client() -> Client:
    return Client()


def test_an_invite_waits_for_its_owner_and_gets_a_200_with_our_tag_and_contact(client: Client) -> None:
    call = client.invite()
    assert client.got() == []
    client.uas.postpone(call, 0)
    client.uas.answer(call, b"v=0", 0)
    trying, ok = client.got()
    assert status_of(trying) == 100
    assert sip.tag_of(field_of(trying, "To")) == ""
    assert status_of(ok) == 200
    assert sip.tag_of(field_of(ok, "To")) == "drawn1"
    assert field_of(ok, "Contact").endswith(";+sip.srs")
    assert field_of(ok, "Content-Type") == "application/sdp"
    assert ok.endswith(b"\r\n\r\nv=0")


def test_a_200_is_repeated_until_its_ack(client: Client) -> None:
    _, tag = client.established(acknowledged=False)
    assert client.wait(3 * T1) == []
    assert [status_of(data) for data in client.got()] == [200, 200]
    client.send(request("ACK", branch="z9hG4bKack", to_tag=tag))
    assert client.wait(100 * T1) == []
    assert client.got() == []


def test_a_200_that_nobody_acknowledges_ends_in_a_bye_of_ours(client: Client) -> None:
    call, tag = client.established(acknowledged=False)
    events = client.wait(64 * T1)
    assert events == [Over(call, established=False)]
    bye = client.got()[-1]
    assert bye.startswith(b"BYE sip:src@127.0.0.1:5060 SIP/2.0\r\n")
    assert sip.tag_of(field_of(bye, "From")) == tag
    assert sip.tag_of(field_of(bye, "To")) == "client"
    client.send(b"SIP/2.0 405 No\r\nVia: " + field_of(bye, "Via").encode() + b"\r\nCSeq: 1 BYE\r\n\r\n")
    client.wait(200 * T1)
    assert client.got() == []
    assert client.uas.next_timer() is None


def test_the_ack_of_another_sequence_or_tag_does_not_count(client: Client) -> None:
    _, tag = client.established(acknowledged=False)
    client.send(request("ACK", branch="z9hG4bKa", to_tag=tag, sequence=2))
    client.send(request("ACK", branch="z9hG4bKb", to_tag="other"))
    client.wait(T1)
    assert [status_of(data) for data in client.got()] == [200]


def test_a_bye_ends_the_call_and_a_second_one_finds_none(client: Client) -> None:
    call, tag = client.established()
    assert client.send(request("BYE", branch="z9hG4bKbye", to_tag=tag, sequence=2)) == [Over(call, established=True)]
    assert client.send(request("BYE", branch="z9hG4bKbye", to_tag=tag, sequence=2)) == []
    assert client.send(request("BYE", branch="z9hG4bKnew", to_tag=tag, sequence=3)) == []
    assert [status_of(data) for data in client.got()] == [200, 200, 481]


def test_a_bye_that_overtakes_the_ack_ends_the_call_and_the_repetition(client: Client) -> None:
    call, tag = client.established(acknowledged=False)
    assert client.send(request("BYE", branch="z9hG4bKbye", to_tag=tag, sequence=2)) == [Over(call, established=True)]
    client.got()
    assert client.wait(100 * T1) == []
    assert client.got() == []


def test_a_cancel_ends_an_invite_that_still_waits(client: Client) -> None:
    call = client.invite()
    assert client.send(request("CANCEL", branch="z9hG4bKinvite")) == [Over(call, established=False)]
    cancelled, terminated = client.got()
    assert (status_of(cancelled), field_of(cancelled, "CSeq")) == (200, "1 CANCEL")
    assert (status_of(terminated), field_of(terminated, "CSeq")) == (487, "1 INVITE")
    assert field_of(cancelled, "To") == field_of(terminated, "To")
    client.uas.answer(call, b"too late", 0)
    assert client.got() == []


def test_a_cancel_after_the_200_changes_nothing(client: Client) -> None:
    _, tag = client.established()
    assert client.send(request("CANCEL", branch="z9hG4bKinvite")) == []
    assert [status_of(data) for data in client.got()] == [200]
    client.send(request("OPTIONS", branch="z9hG4bKo", to_tag=tag, sequence=2))
    assert [status_of(data) for data in client.got()] == [200]


def test_a_cancel_of_nothing_gets_481(client: Client) -> None:
    client.send(request("CANCEL", branch="z9hG4bKother"))
    assert [status_of(data) for data in client.got()] == [481]


def test_a_refused_invite_is_forgotten_and_its_ack_absorbed(client: Client) -> None:
    call = client.invite()
    client.uas.reject(call, 603, 0)
    (refusal,) = client.got()
    assert status_of(refusal) == 603
    assert client.send(request("ACK", branch="z9hG4bKinvite", to_tag=sip.tag_of(field_of(refusal, "To")))) == []
    client.wait(100 * T1)
    assert client.got() == []


def test_options_tell_what_is_understood(client: Client) -> None:
    assert client.send(request("OPTIONS")) == []
    (ok,) = client.got()
    assert status_of(ok) == 200
    assert field_of(ok, "Allow") == "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, PRACK"
    assert "application/rs-metadata+xml" in field_of(ok, "Accept")
    assert field_of(ok, "Supported") == "siprec, timer"


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE"])
def test_while_nothing_can_be_recorded_new_requests_get_503(client: Client, method: str) -> None:
    client.uas.available = False
    assert client.send(request(method)) == []
    (refusal,) = client.got()
    assert status_of(refusal) == 503
    assert field_of(refusal, "Retry-After").isdigit()


def test_a_call_under_way_goes_on_while_nothing_new_can_be_recorded(client: Client) -> None:
    call, tag = client.established()
    client.uas.available = False
    (event,) = client.send(request(branch="z9hG4bKre", to_tag=tag, sequence=2))
    assert event == Modified(call, event.request if isinstance(event, Modified) else None)  # type: ignore[arg-type]


REFUSED = [
    ("an unknown method", request("PUBLISH"), 405, "Allow", "INVITE"),
    ("a method of another kind of server", request("REGISTER"), 405, "Allow", "INVITE"),
    (
        "an unknown extension",
        request(extra=["Require: siprec, precondition, foo"]),
        420,
        "Unsupported",
        "foo, precondition",
    ),
    ("a compressed body", request(extra=["Content-Encoding: gzip"]), 415, "Accept-Encoding", "identity"),
    ("a dialog that is not there", request("BYE", to_tag="none"), 481, "", ""),
    ("a re-INVITE of no dialog", request(to_tag="none"), 481, "", ""),
    ("a BYE without a dialog", request("BYE"), 481, "", ""),
    ("an UPDATE without a dialog", request("UPDATE"), 481, "", ""),
    ("an INVITE without Contact", request(drop=["Contact"]), 400, "", ""),
    ("a malformed Contact", request(drop=["Contact"], extra=["Contact: <nonsense>"]), 400, "", ""),
]


@pytest.mark.parametrize(("data", "status", "name", "value"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_what_cannot_be_served_gets_the_rfcs_status_and_says_what_could(
    client: Client, data: bytes, status: int, name: str, value: str
) -> None:
    assert client.send(data) == []
    (refusal,) = client.got()
    assert status_of(refusal) == status
    if name:
        assert value in field_of(refusal, name)


@pytest.mark.parametrize("extension", ["SIPREC", "siprec, record-aware", "timer", "100rel"])
def test_requiring_what_recording_clients_require_is_never_a_bad_extension(client: Client, extension: str) -> None:
    (event,) = client.send(request(extra=[f"Require: {extension}"]))
    assert isinstance(event, Invited)


def test_rfc_3262_where_100rel_is_required_no_provisional_but_100_is_sent_and_a_prack_finds_nothing(
    client: Client,
) -> None:
    (event,) = client.send(request(branch="z9hG4bKinvite", extra=["Require: 100rel"]))
    assert isinstance(event, Invited)
    client.uas.postpone(event.call, 0)
    client.uas.answer(event.call, b"", 0)
    trying, ok = client.got()
    assert (status_of(trying), status_of(ok)) == (100, 200)
    tag = sip.tag_of(field_of(ok, "To"))
    client.send(request("PRACK", branch="z9hG4bKprack", to_tag=tag, sequence=2, extra=["RAck: 1 1 INVITE"]))
    assert [status_of(data) for data in client.got()] == [481]


def test_beyond_the_declared_capacity_options_and_invites_get_503_until_a_call_ends() -> None:
    client = Client(capacity=1)
    _, tag = client.established()
    for method in ("OPTIONS", "INVITE"):
        client.send(request(method, branch=f"z9hG4bK{method}", call_id=method))
        (refusal,) = client.got()
        assert status_of(refusal) == 503
        assert field_of(refusal, "Retry-After").isdigit()
        client.send(request("ACK", branch=f"z9hG4bK{method}", call_id=method))
    client.send(request("BYE", branch="z9hG4bKbye", to_tag=tag, sequence=2))
    client.send(request("OPTIONS", branch="z9hG4bKlast", call_id="last"))
    assert [status_of(data) for data in client.got()] == [200, 200]


@pytest.mark.parametrize(
    ("data", "status", "named"),
    [
        pytest.param(request(cseq_method="BYE"), 400, "Bad CSeq Header Field", id="malformed"),
        pytest.param(request(extra=["Require: foo"]), 420, None, id="an extension"),
        pytest.param(request(extra=["Content-Encoding: gzip"]), 415, "Content-Encoding", id="an encoding"),
    ],
)
def test_what_is_turned_away_for_its_form_is_reported_by_status_and_field(
    client: Client, data: bytes, status: int, named: str | None
) -> None:
    client.send(data)
    ((got, reason),) = client.reported
    assert got == status
    assert (named or "") in (reason or "")


def test_the_same_invite_by_another_way_is_merged(client: Client) -> None:
    client.invite()
    assert client.send(request(branch="z9hG4bKother")) == []
    assert [status_of(data) for data in client.got()] == [482]


def test_the_same_invite_is_merged_even_when_its_transaction_is_long_over(client: Client) -> None:
    client.established()
    client.wait(100 * T1)
    assert client.send(request(branch="z9hG4bKother")) == []
    assert [status_of(data) for data in client.got()] == [482]


def test_a_repeated_invite_is_no_second_call(client: Client) -> None:
    call = client.invite()
    assert client.send(request(branch="z9hG4bKinvite")) == []
    client.uas.answer(call, b"", 0)
    assert client.send(request(branch="z9hG4bKinvite")) == []
    assert [status_of(data) for data in client.got()] == [200]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_request_that_changes_the_call_waits_for_its_owner(client: Client, method: str) -> None:
    call, tag = client.established()
    (event,) = client.send(request(method, branch="z9hG4bKre", to_tag=tag, sequence=2))
    assert isinstance(event, Modified)
    assert event.call is call
    client.uas.answer(call, b"v=0", 0)
    (ok,) = client.got()
    assert (status_of(ok), field_of(ok, "CSeq")) == (200, f"2 {method}")
    client.wait(T1)
    assert len(client.got()) == (1 if method == "INVITE" else 0)  # only an INVITE's 200 is acknowledged


def test_a_refused_re_invite_leaves_the_call_as_it_was(client: Client) -> None:
    call, tag = client.established()
    client.send(request(branch="z9hG4bKre", to_tag=tag, sequence=2))
    client.uas.reject(call, 488, 0)
    client.send(request("ACK", branch="z9hG4bKre", to_tag=tag, sequence=2))
    assert client.send(request("BYE", branch="z9hG4bKbye", to_tag=tag, sequence=3)) == [Over(call, established=True)]
    assert [status_of(data) for data in client.got()] == [488, 200]


def test_a_cancelled_re_invite_leaves_the_call_as_it_was(client: Client) -> None:
    _, tag = client.established()
    client.send(request(branch="z9hG4bKre", to_tag=tag, sequence=2))
    assert client.send(request("CANCEL", branch="z9hG4bKre", to_tag=tag, sequence=2)) == []
    assert [status_of(data) for data in client.got()] == [200, 487]


def test_a_re_invite_that_nobody_acknowledges_ends_the_established_call(client: Client) -> None:
    call, tag = client.established()
    client.send(request(branch="z9hG4bKre", to_tag=tag, sequence=2))
    client.uas.answer(call, b"", 0)
    assert client.wait(64 * T1) == [Over(call, established=True)]


def test_a_request_out_of_order_gets_the_500_of_rfc_3261_12_2_2(client: Client) -> None:
    _, tag = client.established()
    client.send(request("OPTIONS", branch="z9hG4bKa", to_tag=tag, sequence=5))
    client.send(request("OPTIONS", branch="z9hG4bKb", to_tag=tag, sequence=4))
    assert [status_of(data) for data in client.got()] == [200, 500]


def test_a_second_change_before_the_first_is_answered_gets_500_and_retry_after(client: Client) -> None:
    _, tag = client.established()
    client.send(request(branch="z9hG4bKa", to_tag=tag, sequence=2))
    client.send(request("UPDATE", branch="z9hG4bKb", to_tag=tag, sequence=3))
    (refusal,) = client.got()
    assert status_of(refusal) == 500
    assert 0 <= int(field_of(refusal, "Retry-After")) <= 10


def test_a_new_contact_is_where_our_bye_goes_and_by_the_recorded_route(client: Client) -> None:
    (event,) = client.send(request(extra=["Record-Route: <sip:p1.example;lr>", "Record-Route: <sip:p2.example;lr>"]))
    assert isinstance(event, Invited)
    client.uas.answer(event.call, b"", 0)
    (ok,) = client.got()
    assert ok.count(b"Record-Route: ") == 2
    client.wait(64 * T1)
    bye = client.got()[-1]
    assert b"\r\nRoute: <sip:p1.example;lr>\r\nRoute: <sip:p2.example;lr>\r\n" in bye


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\0\0\0", id="a keep-alive of zeros"),
        pytest.param(b"hello\r\n\r\n", id="no SIP"),
        pytest.param(request("ACK", drop=["CSeq"]), id="a malformed ACK"),
        pytest.param(request("ACK", to_tag="none"), id="an ACK of nothing"),
        pytest.param(request(drop=["Via"]), id="a request that cannot be answered"),
        pytest.param(b"SIP/2.0 200 OK\r\nVia: nonsense\r\n\r\n", id="a malformed response"),
        pytest.param(b"SIP/2.0 9999 OK\r\nVia: SIP/2.0/UDP a.b\r\n\r\n", id="a response of no status"),
    ],
)
def test_what_cannot_or_must_not_be_answered_is_dropped(client: Client, data: bytes) -> None:
    assert client.send(data) == []
    assert client.got() == []


def test_a_header_beyond_all_measure_gets_413(client: Client) -> None:
    assert client.send(request(extra=["X: " + "x" * MAX_HEADER])) == []
    assert [status_of(data) for data in client.got()] == [413]
    client.send(b"x" * 2 * MAX_HEADER + b"\r\n\r\n")
    assert client.got() == []


def test_a_malformed_request_is_answered_where_it_says_whom_to_answer(client: Client) -> None:
    assert client.send(request(cseq_method="BYE")) == []
    (refusal,) = client.got()
    assert refusal.startswith(b"SIP/2.0 400 Bad CSeq Header Field\r\n")
    assert field_of(refusal, "Call-ID") == "session-1@client"


def test_a_connection_that_closes_ends_what_waits_on_it_and_nothing_else() -> None:
    client = Client(TCP)
    established, _ = client.established()
    (event,) = client.send(request(branch="z9hG4bKb", call_id="session-2@client"))
    assert isinstance(event, Invited)
    assert client.uas.flow_lost(Flow("tcp", 99, "127.0.0.1", 1), 0) == []
    assert client.uas.flow_lost(TCP, 0) == [Over(event.call, established=False)]
    assert client.uas.calls_on(TCP) == [established]
    client.uas.answer(event.call, b"too late", 0)
    assert client.got() == []
