"""What the URIs of real equipment say about a line, and which of them identify nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.core.identities import Address, Identity, dialled_by, host_of, identities_of, is_host
from sipgate.core.numbers import Number

PARIS = Number("+33142685300")


def ids(*identities: Identity) -> frozenset[Identity]:
    return frozenset(identities)


def seen(uri: str) -> frozenset[Identity]:
    return identities_of(uri, "FR")


DESK = ids(Address("2001@pbx.example"), Number("2001"))


@pytest.mark.parametrize(
    "uri",
    [
        "sip:2001@pbx.example",
        "SIP:2001@PBX.Example",
        "sips:2001@pbx.example",
        "sip://2001@pbx.example",
        "sip: 2001@pbx.example",
        "sip:2001@pbx.example:5061",
        "sip:2001@pbx.example.",
        "sip:2001@pbx.example;transport=tcp;user=phone",
        "sip:2001@pbx.example?Subject=a@b",
        "sip:2001:secret@pbx.example",
        "sip:2001;cpc=ordinary@pbx.example",
        "sip:%32%30%30%31@pbx.example",
        "<sip:2001@pbx.example>",
        "<sip:2001@pbx.example>;tag=1",
        "sip:2001@pbx.example>",
        '"Bob" <sip:2001@pbx.example;user=phone>;tag=1',
        '"a <b>" <sip:2001@pbx.example>',
        "Bob <sip:2001@pbx.example",
        '"Bob" sip:2001@pbx.example',
        "  sip:2001@pbx.example\r\n",
        "h323:2001@pbx.example",
        "2001@pbx.example",
        "sip:sip:2001@pbx.example",
    ],
)
def test_a_sip_address_is_the_same_whatever_stands_around_it(uri: str) -> None:
    assert seen(uri) == DESK


@pytest.mark.parametrize(
    "uri",
    [
        "tel:+33142685300",
        "TEL:+33-1-42-68-53-00",
        "<tel:+33142685300>",
        "tel:%2B33142685300",
        "tel:0142685300;phone-context=corp.example",
        "tel:0142685300;phone-context=+33",
        "tel:142685300;phone-context=+33",
        "tel:68-53-00;phone-context=+33142",
        "tel:33142685300",
        "sip:0142685300",
        "sip:+33142685300;user=phone",
        "0142685300",
        "01 42 68 53 00",
        "01.42.68.53.00",
    ],
)
def test_a_tel_uri_is_a_number_in_any_context(uri: str) -> None:
    assert PARIS in seen(uri)
    assert all(isinstance(i, Number) for i in seen(uri))


@pytest.mark.parametrize(
    "user",
    [
        "+33142685300",
        "%2B33142685300",
        "%2b33142685300",
        "%252B33142685300",
        "33142685300",
        "0033142685300",
        "0142685300",
        "+33-1-42-68-53-00",
        "+33.1.42.68.53.00",
        "+33142685300;npdi;rn=+33999999999",
        "0142685300;phone-context=+33",
        "+33142685300;isub=12",
    ],
)
def test_a_user_part_that_is_a_number_is_that_number(user: str) -> None:
    assert PARIS in seen(f"sip:{user}@192.0.2.7:5060;user=phone")


def test_escapes_in_a_user_part_are_decoded_before_comparing() -> None:
    assert seen("sip:j%C3%A9r%C3%B4me@corp.example") == ids(Address("jérôme@corp.example"))
    assert seen("sip:cse%40corp.example@sbc.example") == ids(Address("cse@corp.example@sbc.example"))
    assert seen("sip:cse@corp.example@sbc.example") == ids(Address("cse@corp.example@sbc.example"))


def test_an_extension_parameter_is_a_line_of_its_own_behind_the_number() -> None:
    expected = ids(PARIS, Number(PARIS.digits, "2001"))
    assert seen("tel:+33-1-42-68-53-00;ext=2001") == expected
    assert expected <= seen("sip:+33142685300;ext=2001@sbc.example;user=phone")


def test_a_local_number_with_a_global_context_is_both() -> None:
    assert seen("tel:2001;phone-context=+3314268") == ids(Number("2001"), Number("+33142682001"))
    assert seen("tel:2001;phone-context=+33") == ids(Number("2001"))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "sip:",
        "sip:@pbx.example",
        "sip:;transport=tcp@pbx.example",
        "sip:pbx.example",
        "sip:pbx.example;lr",
        "sip:192.0.2.7",
        "sip:192.0.2.7:5060",
        "sip:[2001:db8::1]:5060",
        "192.0.2.7",
        "192.0.2.7;lr",
        "[2001:db8::1]",
        "pbx.example?Subject=a@b",
        "sip:anonymous@anonymous.invalid",
        "sip:Anonymous@192.0.2.7",
        "sip:%61nonymous@192.0.2.7",
        "sip:c8oqz84zk7z@anonymous.invalid",
        "sip:unknown@unknown.invalid",
        "sip:x@invalid",
        "sip:Restricted@pbx.example",
        "sip:asterisk@192.0.2.7",
        "sip:0000000000@192.0.2.7",
        "tel:0000000000",
        "tel:anonymous",
        "tel:",
        "urn:service:sos",
        "http://2001@pbx.example",
        "Bob",
    ],
)
def test_a_uri_of_nobody_identifies_nobody(uri: str) -> None:
    assert seen(uri) == ids()


def test_a_user_without_a_host_is_still_its_number() -> None:
    assert seen("sip:2001") == ids(Number("2001"))


@pytest.mark.parametrize("uri", ["sip:2001@", "sip:2001@.", "sip:2001@:5060", "sip:2001@;user=phone"])
def test_an_at_without_a_host_is_an_address_somewhere(uri: str) -> None:
    assert seen(uri) == ids(Number("2001"), Address("2001@"))
    assert seen(uri.replace("2001", "jean")) == ids()


def test_e164_is_public_and_an_extension_is_not() -> None:
    assert PARIS.public
    assert not Number("2001").public


def test_a_question_mark_in_the_user_part_does_not_hide_it() -> None:
    assert Address("what?@pbx.example") in seen("sip:what?@pbx.example")


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("PBX.example:5060;lr", "pbx.example"),
        ("pbx.example.", "pbx.example"),
        ("[2001:DB8:0:0::1]:5060", "[2001:db8::1]"),
        ("[not-an-address]", "[not-an-address]"),
        ("pbx.example?Subject=x", "pbx.example"),
    ],
)
def test_a_host_has_one_form(written: str, host: str) -> None:
    assert host_of(written) == host


@pytest.mark.parametrize(
    ("host", "valid"),
    [("pbx", True), ("192.0.2.7", True), ("[2001:db8::1]", True), ("a b", False), ("*.x", False), ("", False)],
)
def test_what_is_a_host(host: str, valid: bool) -> None:
    assert is_host(host) is valid


@pytest.mark.parametrize("identity", [PARIS, Number(PARIS.digits, "2001"), Address("cse@corp.example")])
def test_repr_shows_nothing_of_an_identity(identity: Identity) -> None:
    assert "42685300" not in repr(identity)
    assert "cse" not in repr(identity)


@given(
    st.text(max_size=60)
    | st.from_regex(r'("x" )?<?(sips?|tel|TEL):[^@]{0,20}@?[a-z0-9.\[\]:%;?=]{0,20}>?', fullmatch=True)
)
def test_any_text_is_read_without_an_error(text: str) -> None:
    for identity in identities_of(text, "FR"):
        assert str(identity)


@given(
    st.from_regex(r'("x" )?<?sips?:(%[0-9a-fA-F]{2}|%25|[0-9.;*#@-]){1,12}@?[a-z.:;]{0,8}>?', fullmatch=True)
    | st.text("0123456789%;@.:*-35b", max_size=20).map("sip:{}".format)
)
def test_an_extension_is_what_its_address_dials_however_it_is_written(uri: str) -> None:
    found = identities_of(uri, "FR")
    dialled = {dialled_by(i) for i in found if isinstance(i, Address)}
    if dialled:
        assert {i.digits for i in found if isinstance(i, Number) and not i.public} <= dialled
