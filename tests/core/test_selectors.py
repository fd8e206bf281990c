"""How people name lines: what they can mean is read, what no line could match is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.core.identities import Address
from sipgate.core.numbers import Number
from sipgate.core.selectors import AddressPattern, NumberPattern, NumberRange, Selector, parse_selector
from sipgate.errors import LineSyntaxError


def selector(text: str, country: str = "FR") -> Selector:
    return parse_selector(text, country)


@pytest.mark.parametrize("text", ["2001", " 2001 ", "tel:2001", "TEL:2001", "\u202a2001\u202c"])
def test_an_extension(text: str) -> None:
    assert selector(text) == Number("2001")


@pytest.mark.parametrize(
    "text",
    ["+33 1 42 68 53 00", "01 42 68 53 00", "01-42-68-53-00", "0033142685300", "tel:+33-1-42-68-53-00", "014268-5300"],
)
def test_a_public_number(text: str) -> None:
    assert selector(text) == Number("+33142685300")


def test_a_number_with_one_dash_after_its_area_code_is_no_range() -> None:
    assert selector("030-1234567", "DE") == Number("+49301234567")


@pytest.mark.parametrize(
    "text",
    [
        "2000-2999",
        "2000 - 2999",
        "2000..2999",
        "2000 .. 2999",
        "2000\u20132999",
        "2000\u20142999",
        "2000\u22122999",
        "tel:2000-2999",
    ],
)
def test_a_range_is_written_with_any_dash_or_two_dots(text: str) -> None:
    assert selector(text) == NumberRange("2000", "2999")


@pytest.mark.parametrize(
    "text",
    [
        "+33142685300-+33142685399",
        "0142685300-0142685399",
        "01 42 68 53 00 - 01 42 68 53 99",
        "01.42.68.53.00..01.42.68.53.99",
        "01-42-68-53-00..01-42-68-53-99",
        "01-42-68-53-00 \u2013 01-42-68-53-99",
        "01\u00a042\u00a068\u00a053\u00a000\u201301\u00a042\u00a068\u00a053\u00a099",
    ],
)
def test_a_range_of_public_numbers(text: str) -> None:
    assert selector(text) == NumberRange("+33142685300", "+33142685399")


def test_a_range_of_extensions_that_begin_with_zeros() -> None:
    assert selector("0000-0999") == NumberRange("0000", "0999")


@pytest.mark.parametrize(
    ("text", "held", "not_held"),
    [
        ("21xx", "2100", "21000"),
        ("21XX", "2199", "2200"),
        ("21*", "21", "2"),
        ("21*", "210000", "31"),
        ("+33142685*", "+33142685300", "+33142686300"),
        ("+33 1 42 68 53 xx", "+33142685300", "+33142685400"),
        ("01 42 68 53 xx", "+33142685300", "+33142685400"),
        ("01.42.68.53.xx", "+33142685300", "+33142685400"),
        ("0142685*", "+33142685300", "+33142686300"),
        ("01*", "+33142685300", "+33242685300"),
        ("01*", "0123", "0223"),
        ("0033142685xxx", "+33142685300", "+33142686300"),
        ("142685xxx", "+33142685300", "+33142686300"),
        ("2*", "2001", "+33242685300"),
        ("x142685300", "2142685300", "+33142685300"),
    ],
)
def test_a_pattern_fits_the_normal_form_of_the_numbers_that_it_means(text: str, held: str, not_held: str) -> None:
    pattern = selector(text)
    assert isinstance(pattern, NumberPattern)
    assert pattern.holds(Number(held))
    assert not pattern.holds(Number(not_held))


def test_a_pattern_of_a_country_where_a_carrier_is_dialled_fits_the_number_without_it() -> None:
    pattern = selector("0xx11 3234 56xx", "BR")
    assert isinstance(pattern, NumberPattern)
    assert pattern.holds(Number("+551132345678"))


@pytest.mark.parametrize(
    "text",
    [
        "sip:cse@corp.example",
        "sips:CSE@Corp.Example:5061;transport=tls",
        "cse@corp.example",
        "CSE <sip:cse@corp.example>",
        '"Works Council" <sip:cse@corp.example>;tag=1',
        "sip:c%73e@corp.example",
    ],
)
def test_a_sip_address(text: str) -> None:
    assert selector(text) == Address("cse@corp.example")


def test_a_sip_address_of_a_feature_code_and_one_of_a_number() -> None:
    assert selector("sip:*21@pbx") == Address("*21@pbx")
    assert selector("sip:%2B33142685300@[2001:DB8:0::1]") == Address("+33142685300@[2001:db8::1]")


def test_every_address_of_a_host() -> None:
    assert selector("sip:*@Council.example") == AddressPattern("council.example")


def test_ranges_and_host_patterns_hold_their_own_only() -> None:
    assert NumberRange("2000", "2999").holds(Number("2999"))
    assert not NumberRange("2000", "2999").holds(Number("29990"))
    assert not NumberRange("2000", "2999").holds(Number("3000"))
    assert AddressPattern("council.example").holds(Address("a@council.example"))
    assert not AddressPattern("council.example").holds(Address("a@thecouncil.example"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        "*",
        "#",
        "xx",
        "x*",
        "+*",
        "2*1*",
        "**",
        "2?",
        "3000-399",
        "2999-2000",
        "3000-",
        "-3999",
        "2000-29999",
        "2000..",
        "2000-+33142685300",
        "2000-bob",
        "2000..2100..2200",
        "+33 1 42 68 53 00-99",
        "01-42-68-53-00\u201301-42-68-53-99",
        "21xx-22xx",
        "21xx..22xx",
        "2000/2001",
        "2000 2001",
        "2000, 2001",
        "20 01",
        "+3314268530",
        "+331426853000000",
        "1234567890123456",
        "tel:+33142685300;ext=2001",
        "sip:",
        "sip:pbx.example",
        "sip:2001",
        "sip:2001@",
        "sip:@pbx",
        "@",
        "sip:2001@a b",
        "sip:*@*.example",
        "sip:cse*@corp.example",
        "sip:21*@pbx",
        "sip:21xx@pbx",
        "sip:2000-2999@pbx",
        "sip:2000..2999@pbx",
        "sip:cse@corp.example, sip:dp@corp.example",
        "Works Council cse@corp.example",
    ],
)
def test_what_no_line_could_match_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(LineSyntaxError) as refused:
        selector(text)
    assert len(text) < 5 or text not in str(refused.value)


SELECTORS = st.one_of(
    st.from_regex(r"[0-9]{2,5}", fullmatch=True),
    st.from_regex(r"0[1-9][0-9]{8}", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}x{1,3}\*?", fullmatch=True),
    st.from_regex(r"0[1-9][0-9]{2,6}x{0,2}\*", fullmatch=True),
    st.integers(1000, 4999).map(lambda n: f"{n}-{n + 4000}"),
    st.from_regex(r"sip:[a-z%;=+&_!~'(),.-]{1,8}@[a-z]{1,5}\.example", fullmatch=True),
    st.from_regex(r"sip:\*@[a-z]{1,5}\.example", fullmatch=True),
)


@given(SELECTORS)
def test_a_selector_is_read_again_from_what_it_is_shown_as(text: str) -> None:
    try:
        once = selector(text)
    except LineSyntaxError:
        return
    assert selector(str(once)) == once
    assert repr(once).startswith(
        f"<sipgate.core.{type(once).__module__.rpartition('.')[2]}.{type(once).__name__} object"
    )


@given(st.text(max_size=40) | st.from_regex(r"(sip:)?[0-9x*+ .@-]{1,25}", fullmatch=True))
def test_any_text_is_a_selector_or_a_line_syntax_error(text: str) -> None:
    try:
        found = selector(text)
    except LineSyntaxError:
        return
    assert selector(str(found)) == found
