"""Whether a party is one that an enrolment names, and whether it might be one that an exclusion protects.

The second question is the wider one: a miss would be a recorded staff representative (R12).
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipgate.core.lines import Identity, SelectorSet, identities_of, own_identities, parse_selector
from tests.core.world import shown


def chosen(*texts: str, country: str = "FR") -> SelectorSet:
    return SelectorSet(parse_selector(t, country) for t in texts)


def of(*uris: str) -> frozenset[Identity]:
    return frozenset(i for uri in uris for i in identities_of(uri, "FR"))


def own_of(*uris: str) -> frozenset[Identity]:
    return own_identities(of(*uris), OURS)


def named(selectors: SelectorSet, uri: str, country: str = "FR") -> bool:
    return selectors.matches(identities_of(uri, country))


def protected(selectors: SelectorSet, uri: str, country: str = "FR") -> bool:
    return selectors.might_match(identities_of(uri, country))


# --- enrolments: who is named, and nobody else ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("2001", "sip:2001@pbx"),
        ("2001", "tel:2001"),
        ("2000-2999", "sip:2001@pbx"),
        ("20xx", "sip:2001@pbx"),
        ("01 42 68 53 00", "sip:+33142685300@sbc"),
        ("01 42 68 53 xx", "sip:33142685300@trunk"),
        ("sip:2001@pbx", "sip:2001@PBX:5060"),
        ("sip:*@callcentre.example", "sip:anna@callcentre.example"),
    ],
)
def test_an_enrolment_names_a_line(text: str, uri: str) -> None:
    assert named(chosen(text), uri)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("2001", "sip:2002@pbx"),
        ("2001", "sip:ext2001@pbx"),
        ("2001", "tel:+33142685300;ext=2001"),
        ("sip:2001@pbx", "sip:2001@other"),
        ("sip:2001@pbx", "tel:2001"),
        ("sip:*@callcentre.example", "sip:anna@sub.callcentre.example"),
        ("0142685300", "sip:442142685300@pbx"),
        ("2000-2999", "sip:anna@pbx"),
    ],
)
def test_an_enrolment_names_nobody_else(text: str, uri: str) -> None:
    assert not named(chosen(text), uri)


def test_no_selector_names_nobody() -> None:
    assert not chosen()
    assert chosen("2001")
    assert not named(chosen(), "sip:2001@pbx")
    assert not protected(chosen(), "sip:2001@pbx")


def test_a_party_without_identities_is_not_named() -> None:
    assert not chosen("2000-2999").might_match(frozenset())


# --- whose extension it is ------------------------------------------------------------------------------------------

OURS = frozenset({"pbx.example", "192.0.2.7"})


@pytest.mark.parametrize(
    "uris",
    [
        ("sip:2001@pbx.example",),
        ("sip:2001@PBX.example.:5061;user=phone",),
        ("sip:2001@192.0.2.7",),
        ("sip:2001;cpc=ordinary@pbx.example",),
        ("sip:2001@other.example", "sip:2001@pbx.example"),
        ("tel:2001",),
        ("2001",),
        ("tel:2001", "sip:+33142682001@other.example"),
    ],
)
def test_an_extension_is_the_sites_at_its_own_hosts_and_where_no_host_is_said(uris: tuple[str, ...]) -> None:
    assert chosen("2000-2999").matches(of(*uris))
    assert chosen("2000-2999").matches(own_of(*uris))


@pytest.mark.parametrize(
    "uris",
    [
        ("sip:2001@other.example",),
        ("sip:2001@sub.pbx.example",),
        ("sip:2001@pbx.example.evil",),
        ("sip:2001@",),
        ("sip:2001@.",),
        ("sip:%32001@other.example",),
        ("sip:%2532001@other.example",),
        ("sip:2001%3Bx@other.example",),
        ("sip:2001;x=@other.example",),
        ("sip:20-01@other.example",),
        ("sip:2001;ext=5@other.example",),
        ("sip:2001:@pbx.example@other.example",),
        ("tel:2001", "sip:2001@other.example"),
        ("sip:2001@other.example", "sip:anna@pbx.example"),
    ],
)
def test_an_extension_at_another_host_is_another_companys_and_protected_all_the_same(uris: tuple[str, ...]) -> None:
    assert not chosen("2000-2999", "2001").matches(own_of(*uris))
    assert chosen("2001").might_match(of(*uris))


def test_a_public_number_is_the_same_line_at_every_host_and_so_is_an_address() -> None:
    assert chosen("+33142682001").matches(own_of("sip:0142682001@other.example"))
    assert chosen("sip:2001@other.example").matches(own_of("sip:2001@other.example"))


def test_where_nobody_has_said_which_hosts_are_the_sites_every_host_counts() -> None:
    assert chosen("2001").matches(own_identities(of("sip:2001@other.example"), frozenset()))


# --- exclusions: who might be protected -----------------------------------------------------------------------------

AS_SIGNALLED = [
    "+33142685300",
    "33142685300",
    "0033142685300",
    "0142685300",
    "142685300",
    "00142685300",  # the digit for an outside line, as dialled
    "000142685300",
    "90142685300",
    "00033142685300",
    "9,0142685300",
    "+0142685300",
    "+330142685300",
    "#31#0142685300",
    "*310142685300",
    "36510142685300",
    "+33-1-42-68-53-00",
    "42685300",  # without the area code
    "0142685300;phone-context=+33",
    "0142685300;cpc=ordinary;npdi",
    "+33142685300;ext=17",
]
AS_WRITTEN = [
    "+33 1 42 68 53 00",
    "01 42 68 53 00",
    "142685300",
    "0 01 42 68 53 00".replace(" ", ""),
    "0142685300-0142685399",
    "01 42 68 53 xx",
    "0142685*",
    "+33142685*",
    "sip:+33142685300@pbx.example",
    "sip:0142685300@pbx.example",
    "sip:33142685300@192.0.2.9",
    "sip:01-42-68-53-00@pbx.example",
]


@pytest.mark.parametrize("written", AS_WRITTEN)
@pytest.mark.parametrize("signalled", AS_SIGNALLED)
def test_a_protected_number_is_found_in_whatever_form_signalling_shows_it(written: str, signalled: str) -> None:
    exclusions = chosen("7777", written)
    escaped = signalled.replace("+", "%2B").replace("#", "%23")
    assert protected(exclusions, f"sip:{signalled}@192.0.2.7:5060;user=phone")
    assert protected(exclusions, f"<sip:{escaped}@sbc.example>;tag=1")
    assert protected(exclusions, f"tel:{signalled.replace(',', '')}")


@pytest.mark.parametrize(
    ("written", "country", "signalled"),
    [
        ("+33142685300", "BE", "0033142685300"),
        ("+33142685300", "BE", "33142685300"),
        ("+33142685300", "US", "01133142685300"),
        ("+44 20 7183 8750", "FR", "442071838750"),
        ("+44 20 7183 8750", "FR", "00442071838750"),
        ("+44 20 7183 8750", "FR", "000442071838750"),
        ("+44 20*", "FR", "442071838750"),
        ("+44*", "FR", "00442071838750"),
        ("01*", "FR", "00142685300"),
        ("+49 7531 123456", "DE", "123456"),
        ("+49 7531 123450-+49 7531 123459", "DE", "123456"),
        ("+49 7531 12345x", "DE", "123456"),
        ("+1 212 555 1234", "US", "5551234"),
        ("+1 212 555 1234", "US", "912125551234"),
        ("+39 06 698 21234", "IT", "0669821234"),
        ("+33100000000-+33199999999", "FR", "685300"),
    ],
)
def test_a_protected_number_is_found_from_other_countries_and_without_its_area_code(
    written: str, country: str, signalled: str
) -> None:
    assert protected(chosen(written, country=country), f"sip:{signalled}@pbx", country)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:2001@pbx",
        "sip:+2001@sbc",
        "sip:ext2001@pbx",
        "sip:2001-desk@pbx",
        "sip:desk.2001@pbx",
        "sip:**2001@pbx",
        "sip:2001%23@pbx",
        "sip:2001;phone-context=corp.example@pbx",
        "sip:%32001@pbx",
        "sip:+33142685300;ext=2001@sbc",
        "tel:+33-1-42-68-53-00;ext=2001",
        "tel:2001;phone-context=+3314268",
        '"Bob" <sips:2001@[2001:db8::1]:5061>',
    ],
)
@pytest.mark.parametrize("written", ["2001", "2000-2009", "200x", "2*", "sip:2001@pbx.example"])
def test_a_protected_extension_is_found(written: str, uri: str) -> None:
    assert protected(chosen(written), uri)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:cse@corp.example",
        "sip:CSE@corp.example",
        "sip:cse@192.0.2.7:5060",
        "sip:c%73e@sbc.example",
        "sip:cse%40corp.example@sbc.example",
        "sip:cse;x=y:secret@corp.example",
    ],
)
def test_a_protected_address_is_found_at_any_host(uri: str) -> None:
    assert protected(chosen("sip:cse@corp.example"), uri)


@pytest.mark.parametrize(
    "uri", ["sip:x@council.example", "sip:x@sbc.council.example:5061", "sip:x%40council.example@192.0.2.7"]
)
def test_a_protected_host_is_found_below_itself_and_behind_an_sbc(uri: str) -> None:
    assert protected(chosen("sip:*@council.example"), uri)


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("2001", "sip:2002@pbx"),
        ("2001", "sip:12001@pbx"),
        ("2001", "sip:+33142682001@sbc"),
        ("2001", "sip:anna@pbx"),
        ("5300", "sip:0142685300@pbx"),
        ("0142685300", "sip:5300@pbx"),
        ("0142685300", "sip:+33142685301@pbx"),
        ("0142685300-0142685399", "sip:+33142685400@pbx"),
        ("0142685300-0142685399", "sip:685400@pbx"),
        ("0142685300-0142685399", "sip:5350@pbx"),
        ("01 42 68 53 xx", "sip:+33142685400@pbx"),
        ("01 42 68 53 xx", "sip:5350@pbx"),
        ("0142685*", "sip:+33142686300@pbx"),
        ("+44*", "sip:4401@pbx"),
        ("+44*", "sip:+33442685300@pbx"),
        ("+44*", "sip:0142685300@pbx"),
        ("21*", "sip:2001@pbx"),
        ("21xx", "sip:212@pbx"),
        ("2000-2099", "sip:2100@pbx"),
        ("sip:cse@corp.example", "sip:csea@corp.example"),
        ("sip:*@council.example", "sip:x@thecouncil.example"),
        ("sip:ext2001@corp.example", "sip:2001@corp.example"),
    ],
)
def test_another_line_is_not_taken_for_a_protected_one(written: str, uri: str) -> None:
    assert not protected(chosen(written), uri)


NATIONAL = st.from_regex(r"[1-9][0-9]{8}", fullmatch=True)
PREFIXES = st.sampled_from(
    ["", "0", "00", "9", "+33", "33", "0033", "+330", "00033", "90033", "#31#0", "3651", "+0", "+"]
)
SEPARATORS = st.sampled_from(["", "-", ".", "(", ")"])
USER_TAILS = st.sampled_from(["", ";npdi", ";ext=12", ";phone-context=+33", ";isub=1;x=y", ":secret"])
WRITTEN = st.sampled_from(["+33{}", "0{}", "0033{}", "33{}", "+33 (0){}", "sip:0{}@pbx", "sip:%2B33{}@pbx", "0{}-0{}"])


@given(NATIONAL, PREFIXES, SEPARATORS, USER_TAILS, st.booleans(), WRITTEN)
@example("142685300", "", "", "", False, "0{}")
@example("000000000".replace("0", "1"), "9", ".", ";npdi", True, "+33{}")
def test_whatever_form_a_protected_number_is_signalled_in_it_matches(
    national: str, prefix: str, separator: str, tail: str, escape: bool, written: str
) -> None:
    exclusions = chosen(written.format(national, national))
    user = prefix + separator.join([national[:1], national[1:3], national[3:]])
    if escape:
        user = "".join(f"%{ord(c):02X}" if i % 2 else c for i, c in enumerate(user))
    assert protected(exclusions, f"sip:{user}{tail}@192.0.2.7;user=phone")


@given(st.from_regex(r"[1-9][0-9]{1,4}", fullmatch=True), st.from_regex(r"[1-9][0-9]{1,4}", fullmatch=True))
def test_extensions_match_when_they_are_equal_and_only_then(excluded: str, other: str) -> None:
    assert protected(chosen(excluded), f"sip:{other}@pbx") is (excluded == other)


@given(
    st.lists(st.sampled_from([*AS_WRITTEN, "2001", "20xx", "2000-2999", "sip:*@x.example"]), max_size=4),
    st.from_regex(r"sip:[0-9a-z+]{1,12}@[a-z]{1,4}\.example", fullmatch=True) | st.sampled_from(["sip:2001@x.example"]),
)
def test_whoever_is_named_might_be_meant(texts: list[str], uri: str) -> None:
    assert protected(chosen(*texts), uri) or not named(chosen(*texts), uri)


def test_repr_shows_nothing_of_a_set() -> None:
    assert "2001" not in shown(chosen("2001", "2000-2001", "2001*"))
