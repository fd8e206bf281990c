"""Telephone numbers have one normal form, however people and equipment write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.core.numbers import Number, national_digits, parse_number, parse_public, plain_text, significant_digits

PARIS = "+33142685300"


@pytest.mark.parametrize(
    "written",
    [
        "+33142685300",
        "+33 1 42 68 53 00",
        "+33-1-42-68-53-00",
        "+33.1.42.68.53.00",
        "+33 (0)1 42 68 53 00",
        "+330142685300",
        "0033142685300",
        "0033 (0)1 42 68 53 00",
        "33142685300",
        "0142685300",
        "142685300",
        "01 42 68 53 00",
        "01.42.68.53.00",
        "01-42-68-53-00",
        "01/42/68/53/00",
        "(01) 42 68 53 00",
        "01\u00a042\u00a068\u00a053\u00a000",
        "01\u202f42\u202f68\u202f53\u202f00",
        "01\u201142\u201168\u201153\u201100",
        "01\u221242\u221268\u221253\u221200",
        "\u202a+33142685300\u202c",
        "\ufeff0142685300",
        "\uff0b33142685300",
        "\u0660\u0661\u0664\u0662\u0666\u0668\u0665\u0663\u0660\u0660",
    ],
)
def test_a_french_number_is_e164_however_it_is_written(written: str) -> None:
    assert parse_number(written, "FR") == Number(PARIS)


@pytest.mark.parametrize(
    ("country", "written", "normal"),
    [
        ("US", "(212) 555-1234", "+12125551234"),
        ("US", "011 33 1 42 68 53 00", PARIS),
        ("DE", "030/1234567", "+49301234567"),
        ("IT", "06 698 21234", "+390669821234"),
        ("BE", "00 33 1 42 68 53 00", PARIS),
    ],
)
def test_a_national_number_is_read_by_the_rules_of_the_sites_country(country: str, written: str, normal: str) -> None:
    assert parse_number(written, country) == Number(normal)


@pytest.mark.parametrize(
    "dialled",
    [
        "2001",
        "0",
        "007",
        "0012",
        "112",
        "15",
        "3651",
        "116006",
        "2001234567",
        "*21",
        "#31#0142685300",
        "+2001",
        "2001#",
    ],
)
def test_an_extension_a_short_number_and_a_feature_code_stay_as_dialled(dialled: str) -> None:
    assert parse_number(dialled, "FR") == Number(dialled)


def test_a_national_number_behind_the_digit_for_an_outside_line_is_not_taken_for_an_international_one() -> None:
    assert parse_number("0 01 42 68 53 00", "FR") == Number("00142685300")


@pytest.mark.parametrize("text", ["", "  ", "+", "*", "#", "*#*", "bob", "2001bob", "20,01", "1" * 21, "++33142685300"])
def test_what_holds_no_number_is_none(text: str) -> None:
    assert parse_number(text, "FR") is None


@pytest.mark.parametrize("dialled", ["2001", "+2001", "#31#0142685300", "+33142685300999", "00999999999999"])
def test_only_a_possible_number_is_public(dialled: str) -> None:
    assert parse_public(dialled, "FR") is None


@pytest.mark.parametrize(
    ("dialled", "national"),
    [
        (PARIS, "142685300"),
        ("00142685300", "142685300"),
        ("+0142685300", "142685300"),
        ("+33142685", "142685"),
        ("0", ""),
        ("2001", "2001"),
    ],
)
def test_national_digits_leave_out_country_code_and_leading_zeros(dialled: str, national: str) -> None:
    assert national_digits(dialled) == national


@pytest.mark.parametrize(("dialled", "significant"), [(PARIS, "142685300"), ("0042", "0042"), ("+2001", "2001")])
def test_a_number_too_short_to_be_public_keeps_all_its_digits(dialled: str, significant: str) -> None:
    assert significant_digits(dialled) == significant


def test_an_extension_behind_a_number_is_another_line_and_shown_as_such() -> None:
    assert Number(PARIS, "2001") != Number(PARIS)
    assert str(Number(PARIS, "2001")) == f"{PARIS};ext=2001"


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_none_and_never_an_error(text: str) -> None:
    number = parse_number(text, "FR")
    assert number is None or parse_number(number.digits, "FR") == number


@given(st.text(max_size=30))
def test_plain_text_is_stable(text: str) -> None:
    assert plain_text(plain_text(text)) == plain_text(text)
