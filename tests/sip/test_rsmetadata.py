"""Recording metadata: complete, partial, of the drafts, broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipgate.errors import MetadataError
from sipgate.sip.message import Request, check, split
from sipgate.sip.multipart import bodies_of
from sipgate.sip.rsmetadata import Metadata
from tests.peers.pcap import sip_to
from tests.peers.sip_messages import metadata

OPENSIPS = Path(__file__).parents[1] / "data" / "opensips"
TWO = metadata(("p1", "sip:2001@pbx.example", ["1"]), ("p2", "tel:+33612345678", ["2"]))
LEFT = (
    "<participantsessionassoc participant_id='{0}' session_id='a'><disassociate-time>2026-01-01T00:00:00Z"
    "</disassociate-time></participantsessionassoc>"
)


def _read(*documents: bytes) -> Metadata:
    found = Metadata()
    for document in documents:
        found.update(document)
    return found


def _aors(found: Metadata) -> list[tuple[str, ...]]:
    return [participant.aors for participant in found.participants.values()]


def test_participants_streams_and_the_calls_own_call_id_are_read() -> None:
    found = _read(TWO)
    assert _aors(found) == [("sip:2001@pbx.example",), ("tel:+33612345678",)]
    assert [set(found.sent_labels(p)) for p in ("p1", "p2")] == [{"1"}, {"2"}]
    assert found.session_ids == {"call-1@pbx"}


def test_every_name_of_a_participant_counts() -> None:
    both = b"<nameID aor='sip:2001@pbx.example'/><nameID aor='tel:+33142685300'/>"
    found = _read(TWO.replace(b"<nameID aor='sip:2001@pbx.example'/>", both))
    assert _aors(found)[0] == ("sip:2001@pbx.example", "tel:+33142685300")


def test_the_drafts_spelling_and_namespace_are_read() -> None:
    document = b"""<?xml version="1.0" encoding="UTF-8"?><recording xmlns='urn:ietf:params:xml:ns:siprec'>
      <dataMode>complete</dataMode><session id="s"/>
      <participant id="b" session="s"><nameID aor="sip:bob@biloxi.example"/><send>x</send><recv>y</recv></participant>
      <participant id="p" session="s"><aor>sip:paul@biloxi.example</aor><send>y</send></participant>
      <stream id="x" session="s"><label>96</label></stream><stream id="y" session="s"><label>97</label></stream>
    </recording>"""
    found = _read(document)
    assert _aors(found) == [("sip:bob@biloxi.example",), ("sip:paul@biloxi.example",)]
    assert [set(found.sent_labels(p)) for p in ("b", "p")] == [{"96"}, {"97"}]


def test_a_partial_document_adds_and_changes_and_keeps_the_rest() -> None:
    found = _read(
        TWO, metadata(("p3", "sip:2003@pbx.example", ["3"]), ("p2", "sip:2002@pbx.example", []), mode="partial")
    )
    assert _aors(found) == [("sip:2001@pbx.example",), ("sip:2002@pbx.example",), ("sip:2003@pbx.example",)]
    assert found.sent_labels("p3") == {"3"}
    assert found.sent_labels("p1") == {"1"}


def test_who_has_left_is_not_a_participant_any_more() -> None:
    found = _read(TWO, metadata(("p3", "sip:2003@pbx.example", ["2"]), mode="partial", extra=LEFT.format("p2")))
    assert _aors(found) == [("sip:2001@pbx.example",), ("sip:2003@pbx.example",)]
    assert found.sent_labels("p2") == frozenset()


def test_who_leaves_one_session_for_another_stays() -> None:
    joins = LEFT.format("p2").replace("disassociate", "associate").replace("'a'", "'b'")
    assert len(_aors(_read(TWO, metadata(mode="partial", extra=LEFT.format("p2") + joins)))) == 2


def test_a_complete_document_replaces_all_that_was_known() -> None:
    found = _read(TWO, metadata(("p9", "sip:2009@pbx.example", ["1"]), session_id="call-2@pbx"))
    assert _aors(found) == [("sip:2009@pbx.example",)]
    assert found.session_ids == {"call-2@pbx"}
    assert not any("2001" in uri for uri in found.mentioned)


def test_streams_sent_in_several_associations_add_up_and_ended_ones_do_not() -> None:
    assoc = "<participantstreamassoc participant_id='p1'><send>s{0}</send>{1}</participantstreamassoc>"
    ended = assoc.format("2", "<disassociate-time>t</disassociate-time>")
    assert _read(metadata(("p1", "sip:a@b", ["1", "2"]), extra=assoc.format("3", "") + ended)).sends["p1"] == {
        "s1",
        "s2",
        "s3",
    }
    assert _read(TWO, metadata(mode="partial", extra=ended)).sent_labels("p1") == frozenset()


def test_a_document_without_a_mode_that_names_nobody_is_an_update() -> None:
    update = metadata(extra="<stream stream_id='s9'><label>9</label></stream>").replace(
        b"<datamode>complete</datamode>", b""
    )
    found = _read(TWO, update)
    assert len(_aors(found)) == 2
    assert found.labels["s9"] == "9"


def test_addresses_anywhere_in_the_text_are_known() -> None:
    vendors = "<x:callData xmlns:x='urn:x'><x:redirecting>tel:+33142685300</x:redirecting></x:callData>"
    found = _read(metadata(("p1", "sip:a&amp;b@pbx.example", []), extra=vendors))
    assert {"tel:+33142685300", "sip:a&b@pbx.example"} <= found.mentioned


def test_opensips_unescaped_display_name_does_not_hide_anybody() -> None:
    message = check(split(sip_to(OPENSIPS / "basic_ampersand.pcap", 5070)[0]))
    assert isinstance(message, Request)
    (document,) = bodies_of(message).metadata
    assert b"Bob & Co" in document
    found = _read(document)
    assert _aors(found) == [("sip:alice@example.com",), ("sip:bob@example.com",)]
    assert [found.sent_labels(p) for p in found.participants] == [{"1"}, {"0"}]
    assert found.session_ids == {"1-20143@127.0.0.1"}


ORACLE = b"""<?xml version='1.0' encoding='UTF-8'?><recording xmlns='urn:ietf:params:xml:ns:recording'>
  <datamode>complete</datamode><session id="YiC7uS=="><associate-time>2026-06-26T13:44:13</associate-time></session>
  <participant id="called==" session="YiC7uS=="><nameID aor="sip:2001@pbx.example"><name>a b=c</name></nameID>
    <send>s2==</send></participant>
  <participant id="calling==" session="YiC7uS=="><nameID aor="sip:+33612345678@pbx.example"/><send>s1==</send>
    <extensiondata xmlns:apkt=http://acmepacket.com/siprec/extensiondata><apkt:callingParty>true</apkt:callingParty>
      <apkt:header label=Diversion><value>&lt;tel:+33199002100&gt;;reason=busy</value></apkt:header>
      <apkt:empty kind=x/></extensiondata></participant>
  <stream id="s1==" session="YiC7uS=="><label>16777326</label></stream>
  <stream id="s2==" session="YiC7uS=="><label>16777327</label></stream></recording>"""


def test_oracles_attributes_without_quotes_hide_neither_streams_nor_parties() -> None:
    found = _read(ORACLE)
    assert _aors(found) == [("sip:2001@pbx.example",), ("sip:+33612345678@pbx.example",)]
    assert [set(found.sent_labels(p)) for p in found.participants] == [{"16777327"}, {"16777326"}]


def test_oracles_calling_party_is_first_whatever_the_order() -> None:
    assert _read(ORACLE).ordered == ("calling==", "called==")
    assert _read(ORACLE.replace(b">true<", b">false<")).ordered == ("called==", "calling==")


def test_a_diversion_written_as_an_escaped_name_addr_names_its_line() -> None:
    assert "tel:+33199002100" in _read(ORACLE).mentioned


@pytest.mark.parametrize(
    "spelt", ["sip:2&#49;00@pbx.example", "&#115;ip:21&#x30;0@pbx&#46;example", "sip:2100@pbx.example&#60;"]
)
def test_an_address_in_an_extension_is_known_however_its_characters_are_escaped(spelt: str) -> None:
    whole = metadata(("p1", "sip:2001@pbx.example", []), extra=f"<x:y xmlns:x='urn:x'>{spelt}</x:y>")
    for document in (whole, whole.replace(b"</recording>", b"<unclosed>")):
        assert "sip:2100@pbx.example" in _read(document).mentioned


def test_a_participant_read_out_of_broken_xml_is_known_however_its_digits_are_escaped() -> None:
    broken = metadata(("p1", "sip:2&#49;00@pbx.example", [])).replace(b"</recording>", b"<unclosed>")
    assert _aors(_read(broken)) == [("sip:2100@pbx.example",)]


def test_audiocodes_prefix_that_nothing_declares_hides_no_streams() -> None:
    avaya = '<ac:AvayaUCID xmlns="urn:ietf:params:xml:ns:Avaya">FA08</ac:AvayaUCID>'
    found = _read(metadata(("p1", "2001@192.0.2.1", ["1"]), ("p2", "+33612345678@192.0.2.1", ["2"]), extra=avaya))
    assert [set(found.sent_labels(p)) for p in ("p1", "p2")] == [{"1"}, {"2"}]


def test_what_cannot_be_mended_is_scanned() -> None:
    broken = TWO.replace(b"</recording>", b"<unclosed>").replace(b"+336", b"&amp;+336")
    found = _read(broken)
    assert _aors(found) == [("sip:2001@pbx.example",), ("tel:&+33612345678",)]
    assert found.session_ids == {"call-1@pbx"}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\xff\xfe", id="no text"),
        pytest.param(b"<recording>", id="broken, and nobody in it"),
        pytest.param(metadata(), id="complete, and nobody in it"),
        pytest.param(metadata(("p1", "", [])), id="a participant without any name"),
        pytest.param(b"<?xml version='1.0' encoding='x-none'?>" + b"<r/>", id="an unknown encoding"),
        pytest.param(b"<!DOCTYPE r [<!ENTITY e 'sip:a@b'>]>" + TWO.partition(b"?>")[2], id="a DTD"),
        pytest.param(metadata(*((f"p{n}", f"sip:{n}@b", []) for n in range(65))), id="too many participants"),
    ],
)
def test_what_names_nobody_is_an_error_and_changes_nothing(document: bytes) -> None:
    found = _read(TWO)
    before = (_aors(found), found.mentioned, dict(found.sends))
    with pytest.raises(MetadataError):
        found.update(document)
    assert (_aors(found), found.mentioned, dict(found.sends)) == before


def test_metadata_and_participants_do_not_show_themselves() -> None:
    found = _read(TWO)
    assert "2001" not in repr(found)
    assert "2001" not in repr(found.participants["p1"])
