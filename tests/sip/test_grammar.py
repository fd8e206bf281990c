"""SIP's grammar: nothing but GrammarError, and the short way reads what the long way reads."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.sip import grammar
from sipgate.sip.grammar import GrammarError, read_address, read_cseq, read_uri, read_via

PIECES = st.sampled_from(
    [
        *("SIP/2.0/UDP ", "sip:", "tel:", "<", ">", ";", "=", ",", '"', "\\", "@", "[", "]", ":", ":::", "2001:db8::1"),
        *(
            "h.example",
            "branch",
            "tag",
            "z9hG4bK",
            "5060",
            "99999",
            " ",
            "\t",
            "?",
            "%41",
            "\udce9",
            "\u00e9",
            "1 INVITE",
        ),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=40))


@given(TEXTS)
def test_whatever_is_read_is_understood_or_a_grammar_error(text: str) -> None:
    for read in (read_via, read_address, read_cseq, read_uri):
        with contextlib.suppress(GrammarError):
            read(text)


@given(
    host=st.from_regex(r"\A[a-z0-9][a-z0-9.]{0,8}\Z"),
    port=st.none() | st.integers(0, 9999),
    branch=st.from_regex(r"\A[A-Za-z0-9.!%*_+~-]{1,12}\Z"),
    rport=st.booleans(),
)
def test_a_plain_via_is_read_the_same_by_the_long_way(host: str, port: int | None, branch: str, rport: bool) -> None:
    text = f"SIP/2.0/UDP {host}{'' if port is None else f':{port}'};branch={branch}{';rport' if rport else ''}"
    short, long = read_via(text), read_via(text.replace(";branch", " ;branch"))
    assert (short.transport, short.host, short.port) == (long.transport, long.host, long.port)
    assert short.parameters == long.parameters


@given(
    name=st.none() | st.from_regex(r"\A[A-Za-z0-9 ._-]{0,8}\Z"),
    user=st.none() | st.from_regex(r"\A[A-Za-z0-9+._-]{1,8}\Z"),
    host=st.from_regex(r"\A[a-z0-9][a-z0-9.]{0,8}\Z"),
    tag=st.none() | st.from_regex(r"\A[A-Za-z0-9.!%*_+~-]{1,8}\Z"),
)
def test_a_plain_address_is_read_the_same_by_the_long_way(
    name: str | None, user: str | None, host: str, tag: str | None
) -> None:
    before = "" if name is None else f'"{name}" '
    uri = f"sip:{'' if user is None else f'{user}@'}{host}"
    after = "" if tag is None else f";tag={tag}"
    assert read_address(f"{before}<{uri}>{after}") == read_address(f"{before}< {uri} >{after}")


@pytest.mark.parametrize("text", ["SIP/2.0/UDP h.example:99999", "SIP/2.0/UDP h.example:99999;branch=z9hG4bK1;rport"])
def test_a_port_beyond_all_ports_is_no_place_to_answer_to(text: str) -> None:
    with pytest.raises(GrammarError):
        grammar.read_via(text)
