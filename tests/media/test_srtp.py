"""Which packets are opened: against libsrtp as the sender, whatever happens on the way."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from sipgate.core.events import MediaKey
from sipgate.media.recvmmsg import PAD, SLOT
from sipgate.media.srtp import FORMER_NS, MOST_LANES, WINDOW, Unprotector
from sipgate.media.srtp_keys import derive
from sipgate.sip.sdescriptions import SUITES as ALL_SUITES
from tests.peers.rtp import packet
from tests.peers.srtp import SUITES, Reference, Sender

SOUND = bytes(range(160))
STREAM = 5


class Receiving:
    """An unprotector, and batches of datagrams for it; ``replayed`` in all."""

    def __init__(self, *keys: MediaKey) -> None:
        self.unprotector = Unprotector()
        self.unprotector.secure(STREAM, keys)
        self.replayed = 0
        self.now_ns = 1_000

    def take(self, datagrams: Sequence[bytes], streams: Sequence[int] | None = None) -> list[bytes | None]:
        """What each datagram of one batch says; None when it was not opened."""
        slots = np.zeros((max(1, len(datagrams)), PAD + SLOT), dtype=np.uint8)
        for row, data in enumerate(datagrams):
            slots[row, PAD : PAD + len(data)] = np.frombuffer(data, np.uint8)
        lengths = np.array([len(data) for data in datagrams], dtype=np.int64)
        rows = np.arange(len(datagrams))
        of = np.array(streams if streams is not None else [STREAM] * len(rows), dtype=np.int64)
        opened = self.unprotector.unprotect(slots, lengths, rows, of, self.now_ns)
        self.replayed += opened.replayed
        assert len(set(opened.rows.tolist())) == len(opened.rows)
        whole = set(opened.rows.tolist())
        return [slots[row, PAD : PAD + lengths[row]].tobytes() if row in whole else None for row in rows.tolist()]

    @property
    def lanes(self) -> int:
        """How many SSRCs are remembered."""
        return sum(len(key.lanes) for keys in self.unprotector._streams.values() for key in keys.keys)


def numbered(number: int, ssrc: int = 7, sound: bytes = SOUND) -> bytes:
    """The RTP packet with this index."""
    return packet(sound, sequence=number & 0xFFFF, timestamp=160 * number, ssrc=ssrc)


def by_hand(key: MediaKey, index: int, rtp: bytes) -> bytes:
    """AES-CM and HMAC-SHA1 as RFC 3711 words it, for the suites that libsrtp's wrapper lacks; with the key's MKI."""
    suite = ALL_SUITES[key.suite]
    master, salt = key.secret[: suite.key], key.secret[suite.key :]
    session, nonce = derive(master, salt, 0, suite.key), int.from_bytes(derive(master, salt, 2, 14), "big")
    counter = (nonce << 16) ^ int.from_bytes(rtp[8:12], "big") << 64 ^ index << 16
    cipher = Cipher(algorithms.AES(session), modes.CTR(counter.to_bytes(16, "big"))).encryptor()
    sealed = rtp[:12] + cipher.update(rtp[12:])
    tag = hmac.digest(derive(master, salt, 1, 20), sealed + (index >> 16).to_bytes(4, "big"), "sha1")
    return sealed + key.mki + tag[: suite.tag]


def drawn(suite: str, mki: bytes = b"") -> MediaKey:
    """A key of this suite."""
    return MediaKey(suite, os.urandom(ALL_SUITES[suite].key + ALL_SUITES[suite].salt), mki)


@pytest.mark.parametrize("suite", SUITES)
def test_what_libsrtp_sends_is_opened_bit_for_bit_over_three_wraps(suite: str) -> None:
    sender = Sender(suite)
    receiving = Receiving(sender.key)
    for first in range(60_000, 3 * 65_536 + 2000, 500):
        said = [numbered(number) for number in range(first, first + 500, 11)]
        assert receiving.take([sender.protect(rtp) for rtp in said]) == said


@pytest.mark.parametrize("suite", [name for name in ALL_SUITES if name not in SUITES])
def test_the_other_suites_of_rfc_6188_are_opened_too(suite: str) -> None:
    key = drawn(suite)
    said = [numbered(number) for number in range(65_500, 65_600)]
    sealed = [by_hand(key, number, rtp) for number, rtp in zip(range(65_500, 65_600), said, strict=True)]
    assert Receiving(key).take(sealed) == said


def test_the_hand_made_sender_agrees_with_libsrtp() -> None:
    sender = Sender("AES_CM_128_HMAC_SHA1_80")
    assert by_hand(sender.key, 9, numbered(9)) == sender.protect(numbered(9))


@pytest.mark.parametrize("suite", SUITES)
def test_contributors_extensions_and_padding_are_read_where_they_are(suite: str) -> None:
    sender = Sender(suite)
    plain = numbered(1)
    contributors = bytes([0x82]) + plain[1:12] + bytes(8) + SOUND
    extended = bytes([0x91]) + numbered(2)[1:12] + bytes(4) + b"\xbe\xde\x00\x01abcd" + SOUND
    padded = bytes([0xA0]) + numbered(3)[1:12] + SOUND + b"\0\0\0\4"
    empty = numbered(4, sound=b"")
    said = [contributors, extended, padded, empty]
    assert Receiving(sender.key).take([sender.protect(rtp) for rtp in said]) == said


@pytest.mark.parametrize("suite", SUITES)
def test_a_changed_bit_anywhere_closes_the_packet_and_no_other(suite: str) -> None:
    sender = Sender(suite)
    sealed = [sender.protect(numbered(number)) for number in range(30)]
    receiving = Receiving(sender.key)
    for at in [*range(1, 12), 20, len(sealed[0]) - 1]:
        changed = bytearray(sealed[9])
        changed[at] ^= 0x10
        assert receiving.take([bytes(changed)]) == [None]
    assert receiving.take(sealed) == [numbered(number) for number in range(30)]


@pytest.mark.parametrize("suite", SUITES)
def test_what_is_no_packet_of_this_key_is_closed(suite: str) -> None:
    sender, stranger = Sender(suite), Sender(suite)
    receiving = Receiving(sender.key)
    nothing = [
        numbered(1),
        stranger.protect(numbered(1)),
        sender.protect(numbered(1))[:-1],
        sender.protect(numbered(2))[:20],
        numbered(3)[:12],
        bytes([0x8F]) + numbered(3)[1:20],
        bytes([0x90]) + numbered(3)[1:12],
        bytes([0x90]) + numbered(3)[1:14] + b"\xff\xff" + SOUND,
        os.urandom(SLOT),
    ]
    assert receiving.take(nothing) == [None] * len(nothing)
    assert receiving.lanes == 0, "and leaves nothing behind"


def test_a_packet_is_opened_once_in_one_batch_or_in_two() -> None:
    sender = Sender()
    receiving = Receiving(sender.key)
    sealed = [sender.protect(numbered(number)) for number in range(WINDOW + 40)]
    assert receiving.take([sealed[0], sealed[1], sealed[1], sealed[0]]) == [numbered(0), numbered(1), None, None]
    assert receiving.take(sealed[1:20]) == [None, *(numbered(number) for number in range(2, 20))]
    assert receiving.replayed == 3
    assert receiving.take(sealed[25:])[-1] == numbered(WINDOW + 39)
    assert receiving.take([*sealed[:25], *sealed[-WINDOW:]]) == [None] * (25 + WINDOW), "nor when it is too old to tell"


def test_what_comes_late_within_the_window_is_opened() -> None:
    sender = Sender()
    receiving = Receiving(sender.key)
    sealed = {number: sender.protect(numbered(number)) for number in range(65_300, 65_800)}
    assert receiving.take([sealed[number] for number in (65_790, 65_300, 65_536, 65_535, 65_799)]) == [
        numbered(number) for number in (65_790, 65_300, 65_536, 65_535, 65_799)
    ]


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_libsrtp_opens_is_opened_and_nothing_is_opened_otherwise_or_twice(data: st.DataObject) -> None:
    """Jumps of up to half a round, reordering, duplicates, damage, cut into batches anyhow."""
    sender = Sender(data.draw(st.sampled_from(SUITES)))
    receiving, reference = Receiving(sender.key), Reference(sender.key)
    number, sent = data.draw(st.integers(0, 0x7FFF)), {}
    for jump in data.draw(st.lists(st.integers(1, 3) | st.integers(1, 0x7F00), min_size=5, max_size=60)):
        sent[number] = sender.protect(numbered(number))
        number += jump
    order = sorted(sent, key=lambda index: index + data.draw(st.integers(0, 100)))
    opened: set[int] = set()
    while order:
        batch, order = order[: (cut := data.draw(st.integers(1, 20)))], order[cut:]
        damaged = data.draw(st.sets(st.sampled_from(batch)))
        again = data.draw(st.lists(st.sampled_from(batch), max_size=5))
        datagrams = [sent[i][:-1] + bytes([sent[i][-1] ^ (i in damaged)]) for i in batch] + [sent[i] for i in again]
        theirs = [reference.unprotect(datagram) for datagram in datagrams]
        for index, mine, wanted in zip([*batch, *again], receiving.take(datagrams), theirs, strict=True):
            assert mine in (None, numbered(index))
            assert mine == wanted or wanted is None
            assert mine is None or index not in opened
            opened |= {index} if mine is not None else set()


@pytest.mark.parametrize("gap", [0x7FFF, 0x8000, 0x9000, 0xFFFF, 0x10000, 0x10001, 3 * 0x10000])
def test_after_a_gap_of_any_length_up_to_hours_the_stream_is_found_again(gap: int) -> None:
    """Equipment that goes on counting through a hold: 2^15 packets are 11 minutes of 20 ms, or 5 of 10 ms."""
    sender = Sender()
    receiving = Receiving(sender.key)
    assert receiving.take([sender.protect(numbered(number)) for number in range(10)]) != [None] * 10
    sender.count_on(7, gap, 10)
    after = range(10 + gap, 30 + gap)
    assert receiving.take([sender.protect(numbered(number)) for number in after]) == [numbered(n) for n in after]


def test_who_joins_late_finds_the_rollover_counter() -> None:
    sender = Sender()
    sender.count_on(7, 2 * 65_536 + 100)
    after = range(2 * 65_536 + 100, 2 * 65_536 + 120)
    assert Receiving(sender.key).take([sender.protect(numbered(n)) for n in after]) == [numbered(n) for n in after]


def test_the_first_packets_may_be_lost_around_a_wrap() -> None:
    sender = Sender()
    said = range(65_530, 65_560)
    sealed = [sender.protect(numbered(number)) for number in said]
    assert Receiving(sender.key).take(sealed[8:]) == [numbered(number) for number in said][8:]


def test_each_ssrc_has_a_counter_of_its_own_and_few_are_remembered() -> None:
    sender = Sender()
    receiving = Receiving(sender.key)
    for ssrc in range(100, 400):
        said = [numbered(number, ssrc) for number in (65_534, 65_535, 65_536)]
        assert receiving.take([sender.protect(rtp) for rtp in said]) == said
    assert receiving.lanes == MOST_LANES
    many = [numbered(3, ssrc) for ssrc in range(500, 540)]
    assert receiving.take([sender.protect(rtp) for rtp in many]) == many, "also in one batch"
    assert receiving.lanes == MOST_LANES
    forged = [numbered(1, ssrc) + bytes(10) for ssrc in range(1000, 1400)]
    assert receiving.take(forged) == [None] * 400
    assert receiving.take([sender.protect(numbered(4, 539))]) == [numbered(4, 539)], "the last used is still known"


def test_streams_do_not_open_each_others_packets() -> None:
    one, other = Sender(), Sender("AEAD_AES_128_GCM")
    receiving = Receiving(one.key)
    receiving.unprotector.secure(6, [other.key])
    sealed = [
        one.protect(numbered(1)),
        other.protect(numbered(1)),
        one.protect(numbered(2)),
        other.protect(numbered(2)),
    ]
    assert receiving.take(sealed, [STREAM, 6, 6, STREAM]) == [numbered(1), numbered(1), None, None]
    assert receiving.take([one.protect(numbered(3))], [9]) == [None], "nor does a stream without a key"


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 3), (1, 2), (2, 0)])
def test_a_new_key_opens_at_once_and_the_one_before_opens_what_is_on_its_way(before: int, after: int) -> None:
    old, new = Sender(SUITES[before]), Sender(SUITES[after])
    receiving = Receiving(old.key)
    on_its_way = [old.protect(numbered(number)) for number in range(40)]
    receiving.take(on_its_way[:20])
    receiving.unprotector.secure(STREAM, [new.key])
    mixed = [*on_its_way[20:], *(new.protect(numbered(number)) for number in range(40, 60))]
    assert receiving.take(mixed) == [numbered(number) for number in range(20, 60)]
    assert receiving.take(on_its_way) == [None] * 40, "what came before the change came"
    receiving.now_ns += FORMER_NS + 1
    receiving.take([new.protect(numbered(60))])
    assert receiving.take([old.protect(numbered(41)), new.protect(numbered(61))]) == [None, numbered(61)]
    assert receiving.lanes == 1


def test_the_old_key_stays_until_the_new_one_is_used() -> None:
    old, new = Sender(), Sender()
    receiving = Receiving(old.key)
    receiving.unprotector.secure(STREAM, [new.key])
    receiving.now_ns += 100 * FORMER_NS
    assert receiving.take([old.protect(numbered(1))]) == [numbered(1)]


@pytest.mark.parametrize("counts_on", [False, True])
def test_under_a_new_key_a_sender_may_count_on_or_begin_anew(counts_on: bool) -> None:
    """RFC 3711 §3.3.1 has it go on; what makes a new session of libsrtp for each key begins at 0."""
    old, new = Sender(), Sender()
    receiving = Receiving(old.key)
    old.count_on(7, 12 * 65_536)
    number = 12 * 65_536 + 50
    assert receiving.take([old.protect(numbered(number))]) == [None], "too long a time to join in"
    receiving = Receiving(old.key)
    old = Sender(secret=old.key.secret)
    for at in range(0, number, 0x4000):
        receiving.take([old.protect(numbered(at))])
    if counts_on:
        new.count_on(7, number)
    receiving.unprotector.secure(STREAM, [new.key])
    assert receiving.take([new.protect(numbered(number))]) == [numbered(number)]


def test_a_repeated_offer_changes_nothing() -> None:
    sender = Sender()
    receiving = Receiving(sender.key)
    sealed = sender.protect(numbered(1))
    receiving.take([sealed])
    receiving.unprotector.secure(STREAM, [MediaKey(sender.key.suite, sender.key.secret)])
    assert receiving.take([sealed]) == [None], "still a replay"
    receiving.unprotector.secure(STREAM, [Sender().key])
    receiving.unprotector.secure(STREAM, [sender.key])
    assert receiving.take([sealed]) == [None], "even when the key was another in between"


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"])
def test_of_several_keys_packets_name_theirs(suite: str) -> None:
    keys = [drawn(suite, name.to_bytes(4, "big")) for name in (1, 2)]
    sealed = [by_hand(keys[number % 2], number, numbered(number)) for number in range(20)]
    assert Receiving(*keys).take(sealed) == [numbered(number) for number in range(20)]
    assert Receiving(keys[0]).take(sealed[:2]) == [numbered(0), None]
    unnamed = MediaKey(suite, keys[0].secret)
    assert Receiving(keys[0]).take([by_hand(unnamed, 0, numbered(0))]) == [None]


def test_gcm_names_its_key_behind_its_tag() -> None:
    sender = Sender("AEAD_AES_128_GCM")
    named = MediaKey(sender.key.suite, sender.key.secret, b"\7\7")
    assert Receiving(named).take([sender.protect(numbered(1)) + b"\7\7", sender.protect(numbered(2)) + b"\7\6"]) == [
        numbered(1),
        None,
    ]


def test_a_forgotten_stream_frees_all_it_had() -> None:
    receiving = Receiving()
    free: Any = None
    for _ in range(300):
        senders = [Sender() for _ in range(3)]
        for stream, sender in enumerate(senders):
            receiving.unprotector.secure(stream, [sender.key])
            receiving.take([sender.protect(numbered(1, ssrc)) for ssrc in range(5)], [stream] * 5)
        for stream in range(3):
            receiving.unprotector.forget(stream)
        free = free or len(receiving.unprotector._free)
        assert len(receiving.unprotector._free) == free


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_datagrams_leave_what_is_genuine_beside_them_whole(data: st.DataObject) -> None:
    """Whatever header a datagram claims to have, whatever key its stream has."""
    suite = data.draw(st.sampled_from(SUITES))
    sender, named = Sender(suite), drawn(data.draw(st.sampled_from(list(ALL_SUITES))), b"\1\2")
    receiving = Receiving(sender.key)
    receiving.unprotector.secure(6, [named])
    anything = st.binary(min_size=12, max_size=90) | st.binary(min_size=12, max_size=90).map(
        lambda noise: bytes([0x80 | noise[0] & 0x3F]) + sender.protect(numbered(3))[1:60] + noise
    )
    noise = data.draw(st.lists(anything, min_size=1, max_size=12))
    streams = data.draw(st.lists(st.sampled_from([STREAM, 6, 9]), min_size=len(noise), max_size=len(noise)))
    genuine = [sender.protect(numbered(number)) for number in (1, 2)]
    got = receiving.take([genuine[0], *noise, genuine[1]], [STREAM, *streams, STREAM])
    assert got == [numbered(1), *[None] * len(noise), numbered(2)]
