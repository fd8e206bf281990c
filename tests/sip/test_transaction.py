"""Transactions: the tables against the RFC's figures, and the behaviour over time."""

from __future__ import annotations

import itertools

import pytest

from sipgate.sip import transaction as t
from sipgate.sip.message import Flow, Request, Response, check, split
from sipgate.sip.timers import MS, T1, T2, T4, Timers
from sipgate.sip.transaction import Action, Input, State, Transactions
from tests.peers import sip_messages as sip

UDP = Flow("udp", 1, "127.0.0.1", 5060)
TCP = Flow("tcp", 2, "127.0.0.1", 5060)

# RFC 3261 figure 7 with RFC 6026 figure 5, row by row: what each input does in each state. All else stays silent.
INVITE_FIGURE = {
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, Action.REPEAT),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Action.SEND),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, Action.SEND),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Action.SEND),
    (State.PROCEEDING, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, Action.SEND),
    (State.ACCEPTED, Input.TIMER_L): (State.TERMINATED, Action.NOTHING),
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, Action.REPEAT),
    (State.COMPLETED, Input.ACK): (State.CONFIRMED, Action.NOTHING),
    (State.COMPLETED, Input.TIMER_G): (State.COMPLETED, Action.REPEAT_LATER),
    (State.COMPLETED, Input.TIMER_H): (State.TERMINATED, Action.NOTHING),
    (State.COMPLETED, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
    (State.CONFIRMED, Input.TIMER_I): (State.TERMINATED, Action.NOTHING),
}
# RFC 3261 figure 8.
NON_INVITE_FIGURE = {
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, Action.SEND),
    (State.TRYING, Input.SUCCESS): (State.COMPLETED, Action.SEND),
    (State.TRYING, Input.FAILURE): (State.COMPLETED, Action.SEND),
    (State.TRYING, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, Action.REPEAT),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Action.SEND),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, Action.SEND),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Action.SEND),
    (State.PROCEEDING, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, Action.REPEAT),
    (State.COMPLETED, Input.TIMER_J): (State.TERMINATED, Action.NOTHING),
    (State.COMPLETED, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
}
# RFC 3261 figure 6.
CLIENT_FIGURE = {
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, Action.NOTHING),
    (State.TRYING, Input.SUCCESS): (State.COMPLETED, Action.NOTHING),
    (State.TRYING, Input.FAILURE): (State.COMPLETED, Action.NOTHING),
    (State.TRYING, Input.TIMER_E): (State.TRYING, Action.REPEAT_LATER),
    (State.TRYING, Input.TIMER_F): (State.TERMINATED, Action.NOTHING),
    (State.TRYING, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, Action.NOTHING),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Action.NOTHING),
    (State.PROCEEDING, Input.TIMER_E): (State.PROCEEDING, Action.REPEAT_LATER),
    (State.PROCEEDING, Input.TIMER_F): (State.TERMINATED, Action.NOTHING),
    (State.PROCEEDING, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
    (State.COMPLETED, Input.TIMER_K): (State.TERMINATED, Action.NOTHING),
    (State.COMPLETED, Input.FLOW_LOST): (State.TERMINATED, Action.NOTHING),
}
TABLES = [
    ("INVITE server", t.INVITE_SERVER, INVITE_FIGURE),
    ("non-INVITE server", t.NON_INVITE_SERVER, NON_INVITE_FIGURE),
    ("non-INVITE client", t.NON_INVITE_CLIENT, CLIENT_FIGURE),
]


def _request(data: bytes) -> Request:
    found = check(split(data))
    assert isinstance(found, Request)
    return found


@pytest.mark.parametrize(
    ("table", "figure", "state", "given"),
    [
        pytest.param(table, figure, state, given, id=f"{name}-{state.name}-{given.name}")
        for name, table, figure in TABLES
        for state, given in itertools.product(State, Input)
    ],
)
def test_every_state_and_input_does_what_the_rfcs_figure_says(
    table: t.Table, figure: dict[tuple[State, Input], tuple[State, Action]], state: State, given: Input
) -> None:
    entry = table.get(state, {}).get(given)
    assert entry == figure.get((state, given))


def _opened(method: str, flow: Flow, layer: Transactions) -> t.Transaction:
    found = layer.receive(_request(sip.request(method)), flow, 0)
    assert found is not None
    return found


def _sent(layer: Transactions) -> list[bytes]:
    out, layer.out = [data for data, _ in layer.out], []
    return out


def _times_of(layer: Transactions, until: int) -> list[float]:
    """At which T1 multiples something is sent, up to ``until`` ns."""
    times = []
    while (at := layer.timers.next()) is not None and at <= until:
        layer.handle_timers(at)
        times += [at / T1] * len(_sent(layer))
    return times


def test_a_refusal_is_repeated_at_doubling_intervals_up_to_t2_until_timer_h() -> None:
    layer = Transactions()
    layer.respond(_opened("INVITE", UDP, layer), 603, b"603", 0)
    assert _sent(layer) == [b"603"]
    assert _times_of(layer, 100 * T1) == [1, 3, 7, 15, 23, 31, 39, 47, 55, 63]
    assert len(layer) == 0


def test_an_ack_ends_the_repetition_and_is_absorbed_for_t4() -> None:
    layer = Transactions()
    layer.respond(_opened("INVITE", UDP, layer), 603, b"603", 0)
    _sent(layer)
    ack = _request(sip.request("ACK"))
    assert layer.acknowledge(ack, T1 // 2)
    assert _times_of(layer, T4) == []
    assert layer.acknowledge(ack, T4)
    assert len(layer) == 1
    layer.handle_timers(T1 // 2 + T4)
    assert len(layer) == 0


def test_over_tcp_a_refusal_is_sent_once_and_its_ack_ends_the_transaction_at_once() -> None:
    layer = Transactions()
    layer.respond(_opened("INVITE", TCP, layer), 603, b"603", 0)
    assert _sent(layer) == [b"603"]
    assert _times_of(layer, 60 * T1) == []
    layer.acknowledge(_request(sip.request("ACK")), 60 * T1)
    layer.handle_timers(60 * T1)
    assert len(layer) == 0


def test_a_repeated_invite_gets_the_last_provisional_and_then_the_refusal_again() -> None:
    layer = Transactions()
    transaction = _opened("INVITE", UDP, layer)
    again = _request(sip.request())
    assert layer.receive(again, UDP, 0) is None
    assert _sent(layer) == []
    layer.respond(transaction, 100, b"100", 0)
    layer.receive(again, UDP, 0)
    layer.respond(transaction, 603, b"603", 0)
    layer.receive(again, UDP, 0)
    assert _sent(layer) == [b"100", b"100", b"603", b"603"]


def test_after_a_2xx_a_repeated_invite_is_absorbed_until_timer_l() -> None:
    layer = Transactions()
    transaction = _opened("INVITE", UDP, layer)
    layer.respond(transaction, 200, b"200", 0)
    assert layer.receive(_request(sip.request()), UDP, 63 * T1) is None
    assert not layer.acknowledge(_request(sip.request("ACK")), 63 * T1)
    layer.respond(transaction, 200, b"200", 63 * T1)
    assert _sent(layer) == [b"200", b"200"]
    layer.handle_timers(64 * T1)
    assert layer.receive(_request(sip.request()), UDP, 64 * T1) is not None


def test_a_repeated_bye_gets_the_same_answer_until_timer_j() -> None:
    layer = Transactions()
    bye = _request(sip.request("BYE"))
    transaction = layer.receive(bye, UDP, 0)
    assert transaction is not None
    assert layer.receive(bye, UDP, 0) is None
    assert _sent(layer) == []
    layer.respond(transaction, 200, b"200", 0)
    layer.receive(bye, UDP, 63 * T1)
    layer.respond(transaction, 481, b"481", 63 * T1)
    assert _sent(layer) == [b"200", b"200"]
    layer.handle_timers(64 * T1)
    assert len(layer) == 0


def test_a_request_of_ours_is_repeated_until_it_is_answered() -> None:
    layer = Transactions()
    layer.request("z9hG4bKours", "BYE", b"BYE", UDP, 0)
    assert _sent(layer) == [b"BYE"]
    assert _times_of(layer, 20 * T1) == [1, 3, 7, 15]
    layer.receive_response(Response(405, "z9hG4bKours", "BYE"), 20 * T1)
    assert _times_of(layer, 60 * T1) == []
    assert len(layer) == 0


def test_a_request_of_ours_that_nobody_answers_is_given_up_after_timer_f() -> None:
    layer = Transactions()
    layer.request("z9hG4bKours", "BYE", b"BYE", UDP, 0)
    _times_of(layer, 64 * T1)
    assert len(layer) == 0


def test_a_response_to_nothing_of_ours_is_dropped() -> None:
    layer = Transactions()
    layer.receive_response(Response(200, "z9hG4bKnobodys", "BYE"), 0)
    assert len(layer) == 0


def test_requests_of_rfc_2543_are_told_apart_without_a_magic_branch() -> None:
    layer = Transactions()
    first = _request(sip.request(branch="1"))
    assert layer.receive(first, UDP, 0) is not None
    assert layer.receive(_request(sip.request(branch="1")), UDP, 0) is None
    assert layer.receive(_request(sip.request(branch="1", sequence=2)), UDP, 0) is not None


def test_the_same_branch_from_another_sender_is_another_transaction() -> None:
    layer = Transactions()
    assert layer.receive(_request(sip.request()), UDP, 0) is not None
    assert layer.receive(_request(sip.request(sent_by="127.0.0.1:5062")), UDP, 0) is not None


def test_a_request_that_came_by_two_ways_is_known_as_merged() -> None:
    layer = Transactions()
    first = layer.receive(_request(sip.request(branch="z9hG4bKa")), UDP, 0)
    second = layer.receive(_request(sip.request(branch="z9hG4bKb")), UDP, 0)
    assert first is not None
    assert second is not None
    assert not layer.merged(first)
    assert layer.merged(second)


def test_a_timer_started_again_runs_out_once_at_its_new_time() -> None:
    timers: Timers[str, str] = Timers()
    timers.start("owner", "name", 5 * MS)
    timers.start("owner", "name", 9 * MS)
    timers.start("owner", "stopped", 1 * MS)
    timers.stop("owner", "stopped")
    assert list(timers.due(8 * MS)) == []
    assert timers.next() == 9 * MS
    assert list(timers.due(9 * MS)) == [("owner", "name")]
    assert timers.next() is None
    assert T2 == 8 * T1
