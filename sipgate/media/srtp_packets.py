"""SRTP's arithmetic on the packets of a batch: where their parts lie, what their tags prove, their decryption in place.

A packet is a slot of ``recvmmsg.Batch``: RTP header (with CSRCs and extension), payload, then MKI and tag, as

    AES-CM   header | encrypted payload | MKI | tag of header, payload and rollover counter     (RFC 3711 §3.1, §4.2)
    AES-GCM  header | encrypted payload | tag of header and payload | MKI                       (RFC 7714 §8.2)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sipgate.core.events import MediaKey
from sipgate.media.recvmmsg import PAD
from sipgate.media.srtp_keys import BLOCK, SHA1_BYTES, SessionKeys

_HEADER: Final = 12
_ROC_BYTES: Final = 4
_TAG: Final = np.arange(10)
"""Columns of HMAC-SHA1's longest tag here."""

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


@dataclass(eq=False)
class Key:
    offered: MediaKey
    session: SessionKeys
    lanes: dict[int, int] = field(default_factory=dict)


@dataclass
class Group:
    """Packets of one SSRC in one stream, and the key that is tried on them. ``lane`` 0: not heard yet."""

    stream: int
    ssrc: int
    key: Key
    lane: int


class Packets(NamedTuple):
    """By packet: its row, the number of its group, its sequence number, and where in its slot the payload begins and
    ends (what follows is MKI and tag)."""

    row: Ints
    group: Ints
    sequence: Ints
    begin: Ints
    end: Ints

    def only(self, chosen: Ints) -> Packets:
        """Some of them."""
        return Packets(*(column[chosen] for column in self))


def proven(slots: Bytes, packets: Packets, index: Ints, groups: list[Group]) -> Flags:
    """Which packets' tags prove these indices. What AES-GCM proves is in the clear thereby."""
    found = np.zeros(len(index), dtype=np.bool_)
    aead = _aead(packets, groups)
    for part, check in ((np.flatnonzero(~aead), _tagged), (np.flatnonzero(aead), _sealed)):
        if part.size:
            found[part] = check(slots, packets.only(part), index[part], groups)
    return found


def decrypt(slots: Bytes, packets: Packets, index: Ints, groups: list[Group]) -> None:
    """AES in counter mode (RFC 3711 §4.1.1) on authentic packets: the counters of all, one call a key."""
    counted = np.flatnonzero(~_aead(packets, groups))
    packets, index = packets.only(counted), index[counted]
    sizes = packets.end - packets.begin
    blocks = (sizes + BLOCK - 1) // BLOCK
    nonces = [group.key.session.nonce ^ group.ssrc << 64 for group in groups]
    high = np.array([nonce >> 64 for nonce in nonces], dtype=np.uint64)
    low = np.array([nonce & 0xFFFFFFFFFFFFFFFF for nonce in nonces], dtype=np.uint64)
    for count in np.unique(blocks[blocks > 0]).tolist():
        part = np.flatnonzero(blocks == count)
        part = part[np.argsort(packets.group[part], kind="stable")]
        group = packets.group[part]
        counters = np.empty((len(part), count, 2), dtype=">u8")
        counters[:, :, 0] = high[group][:, np.newaxis]
        first = low[group] ^ index[part].astype(np.uint64) << np.uint64(16)
        counters[:, :, 1] = first[:, np.newaxis] + np.arange(count, dtype=np.uint64)
        bounds = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(part)]
        plain, size = memoryview(counters.tobytes()), count * BLOCK
        stream = b"".join(
            groups[group[begin]].key.session.key_stream(plain[begin * size : end * size])
            for begin, end in itertools.pairwise(bounds)
        )
        _xor(slots, packets.only(part), sizes[part], np.frombuffer(stream, dtype=np.uint8).reshape(-1, size))


@dataclass(frozen=True)
class One:
    """One packet, looked at by itself."""

    slots: Bytes
    packets: Packets
    at: int
    group: Group

    def proves(self, index: int) -> bool:
        """Whether its tag proves this index."""
        row, begin, end = (int(column[self.at]) for column in (self.packets.row, self.packets.begin, self.packets.end))
        slot, session = memoryview(self.slots[row].data), self.group.key.session
        if session.aead:
            sealed = slot[begin : end + session.tag]
            return session.opened(self.group.ssrc, index, sealed, slot[PAD:begin]) is not None
        tag = end + len(session.mki)
        proof = session.hmac(bytes(slot[PAD:end]) + (index >> 16).to_bytes(4, "big"))
        return bytes(slot[tag : tag + session.tag]) == proof[: session.tag]


def headers(slots: Bytes, lengths: Ints, rows: Ints) -> tuple[Ints, Ints, Ints]:
    """Where each row's payload begins in its slot, its sequence number and its SSRC (RFC 3550 §5.1, §5.3.1)."""
    heads = slots[rows, PAD : PAD + _HEADER]
    begin = PAD + _HEADER + 4 * (heads[:, 0] & 0x0F).astype(np.int64)
    for at in np.flatnonzero(heads[:, 0] & 0x10).tolist():
        slot, where = slots[rows[at]], int(begin[at])
        begin[at] += 4 + (
            4 * (int(slot[where + 2]) << 8 | int(slot[where + 3])) if where + 4 <= len(slot) else len(slot)
        )
    sequence = heads[:, 2:4].copy().view(">u2")[:, 0].astype(np.int64)
    return begin, sequence, heads[:, 8:12].copy().view(">u4")[:, 0].astype(np.int64)


def named_right(slots: Bytes, packets: Packets, groups: list[Group]) -> Flags:
    """Which packets name their key, where keys have names; an AEAD's name follows its tag (RFC 7714 §8.2)."""
    named = np.ones(len(packets.row), dtype=np.bool_)
    with_names = np.array([bool(group.key.session.mki) for group in groups], dtype=np.bool_)
    for at in np.flatnonzero(with_names[packets.group] & (packets.end >= packets.begin)).tolist():
        session = groups[packets.group[at]].key.session
        where = int(packets.end[at]) + (session.tag if session.aead else 0)
        named[at] = slots[packets.row[at], where : where + len(session.mki)].tobytes() == session.mki
    return named


def _aead(packets: Packets, groups: list[Group]) -> Flags:
    chosen: Flags = np.array([group.key.session.aead for group in groups], dtype=np.bool_)[packets.group]
    return chosen


def _tagged(slots: Bytes, packets: Packets, index: Ints, groups: list[Group]) -> Flags:
    """HMAC-SHA1 over the packet and its rollover counter, which for that moment stands behind it (§4.2)."""
    first = packets.row * slots.shape[1]
    begin, end = first + PAD, first + packets.end
    names = np.array([len(group.key.session.mki) for group in groups], dtype=np.int64)[packets.group]
    tags, counters = _items(slots, _TAG.size), _items(slots, _ROC_BYTES)
    where = np.minimum(end + names, tags.size - 1)
    sent = tags[where].view(np.uint8).reshape(-1, _TAG.size)
    trailers = counters[end]
    counters[end] = (index >> 16).astype(">u4").view(f"V{_ROC_BYTES}")
    proofs = _hmacs(slots, packets.group.tolist(), begin.tolist(), (end + _ROC_BYTES).tolist(), groups)
    counters[end] = trailers
    expected = np.frombuffer(proofs, dtype=np.uint8).reshape(-1, SHA1_BYTES)[:, : _TAG.size]
    sizes = np.array([group.key.session.tag for group in groups], dtype=np.int64)[packets.group]
    same: Flags = ((sent == expected) | (sizes[:, np.newaxis] <= _TAG)).all(axis=1)
    return same


def _hmacs(slots: Bytes, numbers: list[int], begin: list[int], end: list[int], groups: list[Group]) -> bytes:
    """HMACs of parts of ``slots``, one behind the other; written out, as a third of SRTP's cost is calls of Python."""
    flat = memoryview(slots.reshape(-1).data)
    keyed = [group.key.session.keyed for group in groups]
    found = []
    for number, first, last in zip(numbers, begin, end, strict=True):
        inner, outer = keyed[number]
        inner, outer = inner.copy(), outer.copy()
        inner.update(flat[first:last])
        outer.update(inner.digest())
        found.append(outer.digest())
    return b"".join(found)


def _sealed(slots: Bytes, packets: Packets, index: Ints, groups: list[Group]) -> Flags:
    """AES-GCM, which proves and decrypts at once."""
    flat, found = memoryview(slots.reshape(-1).data), np.zeros(len(index), dtype=np.bool_)
    slot = packets.row * slots.shape[1]
    columns = (packets.group, slot + PAD, slot + packets.begin, slot + packets.end, index)
    for at, (number, head, begin, end, which) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        group = groups[number]
        session = group.key.session
        plain = session.opened(group.ssrc, which, flat[begin : end + session.tag], flat[head:begin])
        if plain is not None:
            flat[begin:end] = plain
            found[at] = True
    return found


def _xor(slots: Bytes, packets: Packets, sizes: Ints, stream: Bytes) -> None:
    """Payloads in place; those of one place and size at once."""
    shapes = packets.begin << 32 | sizes
    for shape in np.unique(shapes).tolist():
        same = np.flatnonzero(shapes == shape)
        begin, size = shape >> 32, shape & 0xFFFFFFFF
        if begin % 8 or size % 8 or slots.shape[1] % 8:
            slots[packets.row[same], begin : begin + size] ^= stream[same, :size]
        else:  # nearly all: eight bytes at a time
            words, end = slots.view(np.uint64), (begin + size) // 8
            words[packets.row[same], begin // 8 : end] ^= stream.view(np.uint64)[same, : size // 8]


def _items(slots: Bytes, size: int) -> npt.NDArray[np.void]:
    """The slots, one behind the other, as items of ``size`` bytes, one beginning at every byte."""
    return np.ndarray((slots.size - size + 1,), f"V{size}", buffer=slots.data, strides=(1,))
