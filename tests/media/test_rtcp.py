"""RTCP by hand: every byte as RFC 3550 draws it, and what a recorder says of its streams."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.errors import MediaError
from sipgate.media import rtcp
from sipgate.media.place import Counts
from sipgate.media.reports import Reports
from sipgate.media.rtcp import Block, Description, Goodbye, Packet, ReceiverReport, SenderReport

U32 = st.integers(0, 2**32 - 1)
BLOCKS = st.lists(
    st.builds(Block, U32, st.integers(0, 255), st.integers(-(2**23), 2**23 - 1), U32, U32, U32, U32), max_size=31
).map(tuple)
CNAMES = st.lists(st.tuples(U32, st.text(max_size=60)), max_size=31).map(tuple)
PACKETS: st.SearchStrategy[Packet] = st.one_of(
    st.builds(SenderReport, U32, st.integers(0, 2**64 - 1), U32, U32, U32, BLOCKS),
    st.builds(ReceiverReport, U32, BLOCKS),
    st.builds(Description, CNAMES),
    st.builds(Goodbye, st.lists(U32, max_size=31).map(tuple)),
)


def _ints(*values: int) -> rtcp.Ints:
    return np.array(values, dtype=np.int64)


# A sender report with one block, the CNAME "a@b" with a tool behind it, a BYE with a reason: RFC 3550 §6.4.1, 6.5, 6.6.
COMPOUND = bytes.fromhex(
    "81c8000c 11223344 e4a1b2c3 40000000 00000320 00000005 00000320"
    "55667788 40fffffe 00010003 00000011 b2c34000 00010000"
    "81ca0004 11223344 0103614062 0602 7869 000000"
    "81cb0003 11223344 05 6c65617665 0000".replace(" ", "")
)


def test_a_compound_packet_is_read_as_the_rfc_draws_it() -> None:
    block = Block(0x55667788, 0x40, -2, 0x10003, 17, 0xB2C34000, 0x10000)
    assert rtcp.parse(COMPOUND) == (
        SenderReport(0x11223344, 0xE4A1B2C340000000, 0x320, 5, 0x320, (block,)),
        Description(((0x11223344, "a@b"),)),
        Goodbye((0x11223344,)),
    )


@given(st.lists(PACKETS, max_size=4))
def test_what_is_built_is_read_back(packets: list[Packet]) -> None:
    assert rtcp.parse(rtcp.build(packets)) == tuple(packets)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: COMPOUND[: len(data)] + data))
def test_whatever_comes_is_read_or_a_media_error(datagram: bytes) -> None:
    try:
        found = rtcp.parse(datagram)
    except MediaError:
        return
    assert len(found) <= len(datagram) // 4


@pytest.mark.parametrize("cut", range(1, len(COMPOUND)))
def test_one_that_is_cut_off_is_refused_or_ends_between_two_packets(cut: int) -> None:
    if cut in {52, 72}:
        assert rtcp.parse(COMPOUND[:cut]) == rtcp.parse(COMPOUND)[: 1 if cut == 52 else 2]
    else:
        with pytest.raises(MediaError):
            rtcp.parse(COMPOUND[:cut])


def test_padding_ends_the_last_packet_alone_and_unknown_packets_are_passed_over() -> None:
    feedback = struct.pack("!BBHII", 0x81, 206, 2, 1, 2)
    padded = struct.pack("!BBHIBBBB", 0xA1, 203, 2, 7, 0, 0, 0, 4)
    assert rtcp.parse(feedback + padded) == (Goodbye((7,)),)
    with pytest.raises(MediaError):
        rtcp.parse(padded + feedback)


def test_the_repr_of_a_description_does_not_tell_its_names() -> None:
    assert "alice" not in repr(Description(((1, "alice@example.com"),)))


def test_reports_of_many_streams_are_each_what_the_values_make() -> None:
    lost = rtcp.lost_word(_ints(100, 100), _ints(90, 103), _ints(0, 0), _ints(0, 0))
    reports = rtcp.receiver_reports(
        _ints(1, 2), _ints(100, 200), lost, _ints(70_000, 5), _ints(12, 0), _ints(0xB2C34000, 0), _ints(65_536, 0),
        np.array([b"A" * 16, b"B" * 16]),
    )  # fmt: skip
    first = (ReceiverReport(1, (Block(100, 25, 10, 70_000, 12, 0xB2C34000, 65_536),)), Description(((1, "A" * 16),)))
    second = (ReceiverReport(2, (Block(200, 0, -3, 5, 0),)), Description(((2, "B" * 16),)))
    assert [row.tobytes() for row in reports] == [rtcp.build(first), rtcp.build(second)]
    assert rtcp.without_block(reports[0].tobytes()) == rtcp.build([ReceiverReport(1), first[1]])


@pytest.mark.parametrize(
    ("expected", "received", "fraction", "total"),
    [
        (100, 100, 0, 0),
        (150, 125, 128, 25),
        (150, 100, 255, 50),  # all of the interval: 256 of 256 does not fit
        (150, 160, 0, -10),
        (100, 90, 0, 10),
        (2**24, 100, 255, 2**23 - 1),
    ],
)
def test_the_fraction_is_of_the_interval_and_the_total_of_all(
    expected: int, received: int, fraction: int, total: int
) -> None:
    (word,) = rtcp.lost_word(_ints(expected), _ints(received), _ints(100), _ints(100))
    lost = int(word) & 0xFFFFFF
    assert (int(word) >> 24, lost - (lost >> 23 << 24)) == (fraction, total)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=40), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_jitter_over_arrays_is_the_jitter_of_appendix_a_8(streams: list[list[tuple[int, int]]], offset: int) -> None:
    reports, expected = Reports(4), []
    rows: list[tuple[int, int, int]] = []
    for stream, packets in enumerate(streams):
        at = stamp = 0
        jitter, before = 0.0, None
        for came, spoke in packets:
            at, stamp = at + came, stamp + spoke
            rows.append((stream, (stamp + offset) & 0xFFFFFFFF, at))
            if before is not None:
                jitter += (abs((at - stamp) - before) - jitter) / 16
            before = at - stamp
        expected.append(jitter if len(packets) > 1 else 0.0)
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    reports.hear(columns[0], np.zeros(len(rows), dtype=np.int64), columns[1], columns[2])
    assert reports.jitter[: len(streams)] == pytest.approx(expected, abs=1e-6)


def test_a_change_of_ssrc_is_no_jitter() -> None:
    reports = Reports(1)
    reports.hear(_ints(0, 0), _ints(1, 2), _ints(0, 4_000_000), _ints(0, 160))
    assert reports.jitter[0] == 0


@pytest.mark.peer
def test_tshark_finds_nothing_wrong_with_our_reports(tmp_path: Path) -> None:
    reports = Reports(2)
    for stream in range(2):
        reports.begin(stream)
    reports.control(0, COMPOUND[:52], 0)
    counts = Counts(_ints(0x11223344, 9), _ints(65_500, 0), _ints(65_600, 0), _ints(91, 0))
    datagrams = reports.reports(_ints(0, 1), counts, 250_000_000)
    frames = "".join(f"000000 {' '.join(f'{byte:02x}' for byte in datagram)}\n\n" for datagram in datagrams)
    (tmp_path / "rtcp.txt").write_text(frames, encoding="ascii")
    subprocess.run(["text2pcap", "-q", "-u", "5004,5005", "rtcp.txt", "rtcp.pcap"], cwd=tmp_path, check=True)
    fields = ("rtcp.ssrc.identifier", "rtcp.ssrc.fraction", "rtcp.ssrc.cum_nr", "rtcp.ssrc.ext_high", "rtcp.ssrc.lsr",
              "rtcp.ssrc.dlsr", "rtcp.sdes.text", "_ws.expert.message", "_ws.malformed")  # fmt: skip
    command = ["tshark", "-r", "rtcp.pcap", "-d", "udp.port==5005,rtcp", "-T", "fields", "-E", "separator=|"]
    output = subprocess.run(
        [*command, *(part for field in fields for part in ("-e", field))],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    first, second = (line.split("|") for line in output.splitlines())
    assert first[0].split(",")[0] == "0x11223344"
    assert first[1:6] == ["25", "10", "65600", str(0xB2C34000), "16384"]
    assert second[1:6] == [""] * 5
    assert [len(line[6]) for line in (first, second)] == [16, 16]
    assert first[6] != second[6]
    assert first[7:] == second[7:] == ["", ""]
