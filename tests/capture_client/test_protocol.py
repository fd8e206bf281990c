"""The contract between server and workstation: what is sealed opens, and nothing else does.

Whatever arrives, the only error is ``ProtocolViolation``.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from capture_client import protocol as p

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key()
RECORDING, OTHER_RECORDING, TAKE = "0a" * 16, "0b" * 16, "1c" * 16
NOW = 1_800_000_000_000_000_000
BINDING = p.Binding("desk-1", "boot-1", 7, NOW + p.COMMAND_LIFETIME_NS)

VALUES = {
    "str": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
}


def messages(kinds: tuple[type, ...]) -> st.SearchStrategy[Any]:
    return st.one_of([st.builds(k, **{f.name: VALUES[str(f.type)] for f in fields(k)}) for k in kinds])


BINDINGS = messages((p.Binding,))
COMMANDS, REPORTS = messages(get_args(p.Command)), messages(get_args(p.Report))
A_COMMAND = p.Start(RECORDING, NOW)


def envelope(body: object, key: Ed25519PrivateKey = KEY) -> bytes:
    """A well-signed envelope of any body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.dumps(
        {"body": base64.b64encode(raw).decode(), "signature": base64.b64encode(key.sign(raw)).decode()}
    ).encode()


def body(**changes: object) -> dict[str, Any]:
    """The body of a start command, changed."""
    good: dict[str, Any] = json.loads(base64.b64decode(json.loads(p.seal_message(A_COMMAND, BINDING, KEY))["body"]))
    return {**good, **changes}


def violation_of(read: Callable[[], object]) -> str:
    """The check that ``read`` failed, or nothing; any other error escapes."""
    try:
        read()
    except p.ProtocolViolation as violation:
        return str(violation) or "unnamed"
    return ""


# --- messages -------------------------------------------------------------------------------------------------------


@given(COMMANDS, BINDINGS)
def test_a_command_opens_as_it_was_sealed(command: p.Command, binding: p.Binding) -> None:
    assert p.open_command(p.seal_message(command, binding, KEY), PUBLIC) == (command, binding)


@given(REPORTS, BINDINGS)
def test_a_report_opens_as_it_was_sealed_and_tells_its_sender(report: p.Report, binding: p.Binding) -> None:
    sealed = p.seal_message(report, binding, KEY)
    assert p.open_report(sealed, PUBLIC) == (report, binding)
    assert p.report_sender(sealed) == binding.workstation


@given(REPORTS)
def test_a_report_is_never_taken_for_a_command(report: p.Report) -> None:
    with pytest.raises(p.ProtocolViolation, match="verb"):
        p.open_command(p.seal_message(report, BINDING, KEY), PUBLIC)


@given(COMMANDS)
def test_a_command_is_never_taken_for_a_report(command: p.Command) -> None:
    with pytest.raises(p.ProtocolViolation, match="verb"):
        p.open_report(p.seal_message(command, BINDING, KEY), PUBLIC)


def test_what_another_key_signed_does_not_open() -> None:
    with pytest.raises(p.ProtocolViolation, match="signature"):
        p.open_command(p.seal_message(A_COMMAND, BINDING, OTHER), PUBLIC)


@given(st.integers(0, len(json.dumps(body())) - 1), st.integers(1, 255))
def test_a_body_changed_in_one_byte_does_not_open(at: int, change: int) -> None:
    sealed = json.loads(p.seal_message(A_COMMAND, BINDING, KEY))
    raw = bytearray(base64.b64decode(sealed["body"]))
    raw[at % len(raw)] ^= change
    sealed["body"] = base64.b64encode(bytes(raw)).decode()
    with pytest.raises(p.ProtocolViolation, match="signature"):
        p.open_command(json.dumps(sealed).encode(), PUBLIC)


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\0" * 63, b"\0" * 65])
def test_a_signature_of_any_length_is_only_wrong(signature: bytes) -> None:
    sealed = json.loads(p.seal_message(A_COMMAND, BINDING, KEY))
    sealed["signature"] = base64.b64encode(signature).decode()
    with pytest.raises(p.ProtocolViolation, match="signature"):
        p.open_command(json.dumps(sealed).encode(), PUBLIC)


def test_a_field_that_a_later_version_adds_is_passed_over() -> None:
    later = body(news=1)
    later["message"]["news"] = [1, 2]
    assert p.open_command(envelope(later), PUBLIC) == (A_COMMAND, BINDING)


def test_a_field_with_a_default_may_be_missing() -> None:
    earlier = body()
    del earlier["message"]["lease_seconds"]
    assert p.open_command(envelope(earlier), PUBLIC) == (A_COMMAND, BINDING)


# --- the binding ----------------------------------------------------------------------------------------------------


def checked(binding: p.Binding, **changes: Any) -> None:
    facts: dict[str, Any] = {"workstation": "desk-1", "boot": "boot-1", "last_counter": 6, "server_now_ns": NOW}
    p.check(binding, **{**facts, **changes})


def test_a_command_for_this_boot_that_is_new_and_in_time_is_obeyed() -> None:
    checked(BINDING)
    checked(BINDING, server_now_ns=BINDING.not_after_ns)


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"workstation": "desk-2"}, "for another workstation"),
        ({"boot": "boot-2"}, "for another boot"),
        ({"last_counter": 7}, "replayed"),
        ({"last_counter": 8}, "replayed"),
        ({"server_now_ns": BINDING.not_after_ns + 1}, "expired"),
    ],
)
def test_any_other_command_is_refused_by_the_name_of_what_failed(changes: dict[str, Any], failed: str) -> None:
    with pytest.raises(p.ProtocolViolation, match=f"^{failed}$"):
        checked(BINDING, **changes)


# --- malformed ------------------------------------------------------------------------------------------------------

DEEP = b"[" * 100_000
NEARLY_TOO_DEEP = (
    b'{"verb":' + b"[" * 900 + b"]" * 900 + b',"version":1,"workstation":' + b"[" * 900 + b"]" * 900 + b"}"
)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"\xff\xfe",
        b"{",
        DEEP,
        b"1" * 10_000,
        b"{}",
        b'{"body": 1, "signature": 2}',
        b'{"body": null, "signature": null}',
        b'{"body": "\xc3\xa9", "signature": ""}',
        b'{"body": "!!!!", "signature": ""}',
        b'{"body": "YQ", "signature": ""}',
        b'{"body": "", "signature": ""}',
        b'{"body": "", "body": "", "signature": ""}',
        b'{"body": [], "signature": {}}',
        b'{"body": NaN, "signature": Infinity}',
    ],
)
def test_what_is_no_envelope_is_a_violation(payload: bytes) -> None:
    for open_it in (p.open_command, p.open_report):
        with pytest.raises(p.ProtocolViolation):
            open_it(payload, PUBLIC)
    with pytest.raises(p.ProtocolViolation):
        p.report_sender(payload)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        DEEP,
        NEARLY_TOO_DEEP,
        b'{"version": 1' + b"0" * 5_000 + b"}",
        json.dumps(body(version=2)),
        json.dumps(body(version=True)),
        json.dumps(body(version=1.0)),
        json.dumps(body(version="1")),
        json.dumps(body(version=None)),
        json.dumps(body(verb=None)),
        json.dumps(body(verb=["start"])),
        json.dumps(body(verb="Start")),
        json.dumps(body(message=None)),
        json.dumps(body(message=[])),
        json.dumps(body(message={})),
        json.dumps(body(message={"recording": RECORDING})),
        json.dumps(body(message={"recording": 1, "answered_at_ns": NOW})),
        json.dumps(body(message={"recording": None, "answered_at_ns": NOW})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": "1"})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": True})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": 1.5})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": 2**63})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": -(2**63) - 1})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": NOW, "lease_seconds": float("nan")})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": NOW, "lease_seconds": float("inf")})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": NOW, "lease_seconds": 10**400})),
        json.dumps(body(message={"recording": RECORDING, "answered_at_ns": NOW, "lease_seconds": "5"})),
        json.dumps(body(message={"recording": "\ud800", "answered_at_ns": NOW})),
        json.dumps(body(message={"recording": "a\0b", "answered_at_ns": NOW})),
        json.dumps(body()).replace('"lease_seconds": 5.0', '"lease_seconds": 1e999'),
        json.dumps(body()).replace('"verb"', '"verb": "discard", "verb"'),
        json.dumps(body(workstation=None)),
        json.dumps(body(counter="7")),
        json.dumps(body(counter=7.0)),
        json.dumps(body(not_after_ns=10**30)),
        json.dumps({k: v for k, v in body().items() if k != "boot"}),
    ],
)
def test_a_well_signed_body_that_the_contract_does_not_allow_is_a_violation(raw: bytes | str) -> None:
    with pytest.raises(p.ProtocolViolation):
        p.open_command(envelope(raw if isinstance(raw, bytes) else raw.encode()), PUBLIC)


@pytest.mark.parametrize("claimed", [None, 1, ["desk-1"], {}, "\ud800", "desk\0"])
def test_an_envelope_without_a_sender_is_a_violation(claimed: object) -> None:
    with pytest.raises(p.ProtocolViolation):
        p.report_sender(envelope(body(workstation=claimed)))
    with pytest.raises(p.ProtocolViolation):
        p.report_sender(envelope(NEARLY_TOO_DEEP))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
CHANGES = st.dictionaries(
    st.sampled_from(["version", "verb", "workstation", "boot", "counter", "not_after_ns", "message"]), JSON, min_size=1
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"body":"","signature":""}')
def test_anything_that_arrives_is_read_or_a_violation(payload: bytes) -> None:
    for read in (
        lambda: p.open_command(payload, PUBLIC),
        lambda: p.open_report(payload, PUBLIC),
        lambda: p.report_sender(payload),
        lambda: p.open_command(envelope(payload), PUBLIC),
        lambda: p.report_sender(envelope(payload)),
    ):
        assert len(violation_of(read)) < 40, "names the check, and shows nothing of the message"


@given(st.sampled_from([k.VERB for k in get_args(p.Command)]), JSON, CHANGES)
def test_any_well_signed_body_opens_into_its_declared_types_or_is_a_violation(
    verb: str, message: Any, changes: dict[str, Any]
) -> None:
    for payload in (envelope(body(verb=verb, message=message)), envelope(body(**changes))):
        try:
            command, binding = p.open_command(payload, PUBLIC)
        except p.ProtocolViolation:
            continue
        assert p.open_command(p.seal_message(command, binding, KEY), PUBLIC) == (command, binding)


# --- the application ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "application"),
    [
        ("program=/usr/bin/crm", p.Application(program="/usr/bin/crm")),
        ("class=Crm", p.Application(window_class="Crm")),
        (" program = crm , class = Crm , title = Orders* ", p.Application("crm", "Crm", "Orders*")),
        ("title=a=b,class=Crm", p.Application(window_class="Crm", title="a=b")),
    ],
)
def test_an_application_is_read_and_shown(text: str, application: p.Application) -> None:
    assert p.Application.parse(text) == application
    assert p.Application.parse(str(application)) == application


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crm",
        "program=",
        "=crm",
        "title=Orders",
        "screen=all",
        "class=Crm,",
        "class=Crm,class=Other",
        "class=Crm,x=y",
    ],
)
def test_an_application_that_could_be_any_window_is_refused(text: str) -> None:
    with pytest.raises(p.ProtocolViolation, match="application"):
        p.Application.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_an_application_or_a_violation(text: str) -> None:
    try:
        application = p.Application.parse(text)
    except p.ProtocolViolation:
        return
    assert application.program is not None or application.window_class is not None


# --- topics ---------------------------------------------------------------------------------------------------------


def test_each_workstation_has_two_topics_of_its_own() -> None:
    assert p.command_topic("desk-1") == "sipgate/desk-1/command"
    assert p.state_topic("desk-1") == p.STATE_TOPICS.replace("+", "desk-1")


def test_a_lease_outlives_two_lost_renewals_and_a_command_does_not_outlive_the_lease() -> None:
    assert 3 * p.RENEW_SECONDS < p.LEASE_SECONDS
    assert p.COMMAND_LIFETIME_NS < p.LEASE_SECONDS * 1e9


# --- film segments --------------------------------------------------------------------------------------------------

PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
RECORDING_KEY = PRIVATE.public_key().public_bytes_raw()
PACKETS = st.lists(
    st.builds(
        p.FilmPacket,
        key=st.booleans(),
        pts_ns=st.integers(-(2**63), 2**63 - 1),
        width=st.integers(0, 2**16 - 1),
        height=st.integers(0, 2**16 - 1),
        data=st.binary(max_size=60),
    ),
    max_size=5,
)
FRAMES = [p.FilmPacket(True, 0, 1280, 720, b"key frame"), p.FilmPacket(False, 125_000_000, 1280, 720, b"")]
HEAD = 4 + 16 + 16 + 4 + 32


def sealer(recording: str = RECORDING) -> p.SegmentSealer:
    return p.SegmentSealer(recording, TAKE, RECORDING_KEY)


@given(st.integers(0, 2**32 - 1), PACKETS)
def test_a_segment_opens_as_it_was_sealed(index: int, packets: list[p.FilmPacket]) -> None:
    sealed = sealer().seal(index, packets)
    assert p.segment_name(sealed) == p.SegmentName(RECORDING, TAKE, index)
    assert p.open_segment(sealed, PRIVATE) == packets


SEALED = sealer().seal(3, FRAMES)


@given(st.integers(0, len(SEALED) - 1), st.integers(0, 7))
def test_a_segment_changed_in_one_bit_does_not_open(at: int, bit: int) -> None:
    altered = bytearray(SEALED)
    altered[at] ^= 1 << bit
    with pytest.raises(p.ProtocolViolation):
        p.open_segment(bytes(altered), PRIVATE)


@given(st.integers(0, len(SEALED) - 1))
def test_a_segment_cut_short_does_not_open(length: int) -> None:
    with pytest.raises(p.ProtocolViolation):
        p.open_segment(SEALED[:length], PRIVATE)


def test_a_segment_with_something_behind_it_does_not_open() -> None:
    with pytest.raises(p.ProtocolViolation):
        p.open_segment(SEALED + b"\0", PRIVATE)


def test_the_segment_of_one_recording_does_not_open_with_the_key_of_another() -> None:
    with pytest.raises(p.ProtocolViolation, match="does not open"):
        p.open_segment(SEALED, X25519PrivateKey.generate())


def test_a_segment_moved_to_another_recording_take_or_index_does_not_open() -> None:
    for start, value in ((4, bytes.fromhex(OTHER_RECORDING)), (20, bytes(16)), (36, (4).to_bytes(4, "big"))):
        moved = SEALED[:start] + value + SEALED[start + len(value) :]
        assert p.segment_name(moved) != p.segment_name(SEALED)
        with pytest.raises(p.ProtocolViolation, match="does not open"):
            p.open_segment(moved, PRIVATE)


def test_the_content_of_one_segment_does_not_open_under_the_head_of_another() -> None:
    one = sealer()
    first, second = one.seal(0, FRAMES), one.seal(1, FRAMES)
    with pytest.raises(p.ProtocolViolation):
        p.open_segment(first[:HEAD] + second[HEAD:], PRIVATE)


def test_equal_frames_never_look_equal_and_every_take_has_a_key_of_its_own() -> None:
    one, other = sealer(), sealer()
    contents = {one.seal(0, FRAMES)[HEAD:], one.seal(1, FRAMES)[HEAD:], other.seal(0, FRAMES)[HEAD:]}
    assert len(contents) == 3
    assert all(b"key frame" not in content for content in contents)


@given(st.binary(max_size=200) | st.binary(max_size=120).map(lambda tail: p.SEGMENT_MAGIC + tail))
def test_any_bytes_are_a_violation(sealed: bytes) -> None:
    with pytest.raises(p.ProtocolViolation):
        p.open_segment(sealed, PRIVATE)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_a_public_key_that_gives_a_secret_to_everybody_is_a_violation(point: bytes) -> None:
    with pytest.raises(p.ProtocolViolation):
        p.open_segment(SEALED[: HEAD - 32] + point + SEALED[HEAD:], PRIVATE)


class Unpacked(p.SegmentSealer):
    """Seals what a client of ours would not write."""

    def seal_plain(self, index: int, plain: bytes) -> bytes:
        head = struct.pack(">4s16s16sI32s", p.SEGMENT_MAGIC, self._recording, self._take, index, self._ephemeral)
        return head + self._aead.encrypt(bytes(8) + index.to_bytes(4, "big"), plain, head)


@given(st.binary(max_size=60))
@example(b"\0" * 16)
@example(struct.pack(">BqHHI", 1, 0, 1, 1, 2**32 - 1))
@example(struct.pack(">BqHHI", 1, 0, 1, 1, 1))
def test_whatever_a_workstation_seals_is_read_or_a_violation(plain: bytes) -> None:
    sealed = Unpacked(RECORDING, TAKE, RECORDING_KEY).seal_plain(0, plain)
    if violation := violation_of(lambda: p.open_segment(sealed, PRIVATE)):
        assert violation == "segment record"
    else:
        assert sum(17 + len(packet.data) for packet in p.open_segment(sealed, PRIVATE)) == len(plain)


# --- uploads --------------------------------------------------------------------------------------------------------

UPLOAD = {"workstation": "desk-1", "recording": RECORDING, "take": TAKE, "part": "0", "body": b"sealed"}


@pytest.mark.parametrize(
    "changes",
    [
        {"workstation": "desk-2"},
        {"recording": OTHER_RECORDING},
        {"take": "00" * 16},
        {"part": "end"},
        {"body": b"other"},
    ],
)
def test_an_upload_is_signed_for_one_workstation_recording_take_part_and_content(changes: dict[str, Any]) -> None:
    signature = KEY.sign(p.upload_digest(**UPLOAD))  # type: ignore[arg-type]  # a dict of both types
    PUBLIC.verify(signature, p.upload_digest(**UPLOAD))  # type: ignore[arg-type]  # as above
    with pytest.raises(InvalidSignature):
        PUBLIC.verify(signature, p.upload_digest(**{**UPLOAD, **changes}))


def test_a_binding_differs_in_each_of_its_parts() -> None:
    changes: list[dict[str, Any]] = [{"workstation": "x"}, {"boot": "x"}, {"counter": 8}, {"not_after_ns": 0}]
    sealed = {p.seal_message(A_COMMAND, replace(BINDING, **c), KEY) for c in changes}
    assert len(sealed | {p.seal_message(A_COMMAND, BINDING, KEY)}) == 5
