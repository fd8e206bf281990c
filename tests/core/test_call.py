"""The call's table: every state and every input."""

from __future__ import annotations

from itertools import product

import pytest

from sipgate.core.call import TRANSITIONS, Action, Input, State, Step, step

A, I, S = Action, Input, State  # noqa: E741 - the table is read by them

# What a state does not name leaves state and world as they are.
# fmt: off
TABLE: dict[State, dict[Input, Step]] = {
    S.OPENING: {
        I.OPENED: (S.WAITING, ()),
        I.OPEN_FAILED: (S.GONE, (A.UNAVAILABLE,)),
        I.DENIED: (S.DOOMED, ()),
        I.LOST: (S.DOOMED, ()),
        I.ENDED: (S.ABANDONED, ()),
        I.FAILED: (S.ABANDONED, ()),
    },
    S.DOOMED: {
        I.OPENED: (S.SPENT, (A.ERASE,)),
        I.OPEN_FAILED: (S.GONE, (A.UNAVAILABLE,)),
        I.ENDED: (S.ABANDONED, ()),
        I.FAILED: (S.ABANDONED, ()),
    },
    S.ABANDONED: {
        I.OPENED: (S.GONE, (A.ERASE, A.RELEASE)),
        I.OPEN_FAILED: (S.GONE, ()),
    },
    S.WAITING: {
        I.ANSWERED: (S.RECORDING, (A.BEGIN,)),
        I.DENIED: (S.SPENT, (A.ERASE,)),
        I.LOST: (S.SPENT, (A.ERASE,)),
        I.ENDED: (S.GONE, (A.ERASE, A.RELEASE)),
        I.FAILED: (S.GONE, (A.ERASE, A.RELEASE)),
    },
    S.RECORDING: {
        I.DENIED: (S.SPENT, (A.ERASE,)),
        I.LOST: (S.CUT, (A.FINISH,)),
        I.ENDED: (S.GONE, (A.FINISH, A.RELEASE)),
        I.FAILED: (S.GONE, (A.ERASE, A.RELEASE)),
    },
    S.CUT: {
        I.DENIED: (S.SPENT, (A.ERASE,)),
        I.ENDED: (S.GONE, (A.RELEASE,)),
        I.FAILED: (S.GONE, (A.ERASE, A.RELEASE)),
    },
    S.SPENT: {
        I.ENDED: (S.GONE, (A.RELEASE,)),
        I.FAILED: (S.GONE, (A.RELEASE,)),
    },
    S.GONE: {},
}
# fmt: on


@pytest.mark.parametrize(("state", "happened"), list(product(State, Input)))
def test_every_state_and_input(state: State, happened: Input) -> None:
    assert step(state, happened) == TABLE[state].get(happened, (state, ()))


def test_the_table_names_every_state() -> None:
    assert set(TABLE) == set(State)


def lives(state: State = State.OPENING, depth: int = 6) -> list[list[Step]]:
    """Every way from ``state`` on in which each step changes something."""
    if depth == 0:
        return [[]]
    ways: list[list[Step]] = [[]]
    for (at, _), after in TRANSITIONS.items():
        if at is state:
            ways += [[after, *rest] for rest in lives(after[0], depth - 1)]
    return ways


LIVES = lives()


def test_every_life_that_opened_and_ended_is_finished_or_erased_and_releases_its_ports_once() -> None:
    for life in LIVES:
        actions = [action for _, done in life for action in done]
        assert actions.count(Action.BEGIN) <= 1
        assert actions.count(Action.RELEASE) <= 1
        assert actions.count(Action.FINISH) <= 1
        assert actions.count(Action.ERASE) <= 1
        if life and life[-1][0] is State.GONE and any(s in (State.WAITING, State.SPENT) for s, _ in life):
            assert actions.count(Action.RELEASE) == 1
            assert Action.FINISH in actions or Action.ERASE in actions


def test_nothing_is_kept_before_it_began_or_after_it_was_erased() -> None:
    for life in LIVES:
        actions = [action for _, done in life for action in done]
        if Action.FINISH in actions:
            assert actions.index(Action.BEGIN) < actions.index(Action.FINISH)
            assert Action.ERASE not in actions[: actions.index(Action.FINISH)]


def test_every_life_can_end() -> None:
    for state in State:
        reached = {state}
        while len(reached) < len(
            more := reached | {after for (at, _), (after, _) in TRANSITIONS.items() if at in reached}
        ):
            reached = more
        assert State.GONE in reached
