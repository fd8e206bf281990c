"""The vectors that the RFCs print, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

from sipgate.core.events import MediaKey
from sipgate.errors import MediaError
from sipgate.media.recvmmsg import PAD, SLOT
from sipgate.media.srtp_keys import SessionKeys, derive
from sipgate.media.srtp_packets import Group, Key, Packets, decrypt, proven
from sipgate.sip.sdescriptions import SUITES

# Master key, master salt; then cipher key, cipher salt, authentication key.
DERIVED = {
    "RFC 3711 B.3": (
        "E1F97A0D3E018BE0D64FA32C06DE4139",
        "0EC675AD498AFEEBB6960B3AABE6",
        "C61E7A93744F39EE10734AFE3FF7A087",
        "30CBBC08863D8C85D49DB34A9AE1",
        "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A",
    ),
    "RFC 6188 7.2": (
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        "3b04803de51ee7c96423ab5b78d2",
        "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
        "fa31791685ca444a9e07c6c64e93",
        "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
    ),
    "RFC 6188 7.4": (
        "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1",
        "c8522f3acd4ce86d5add78edbb11",
        "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb",
        "2372b82d639b6d8503a47adc0a6c",
        "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb",
    ),
}
# Session key, salt, the first blocks of the key stream of SSRC 0 and index 0.
STREAMS = {
    "RFC 3711 B.2": (
        "AES_CM_128_HMAC_SHA1_80",
        "2B7E151628AED2A6ABF7158809CF4F3C",
        "F0F1F2F3F4F5F6F7F8F9FAFBFCFD",
        "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB41E95B3BB0A2E8DD477901E4FCA894C0",
    ),
    "RFC 6188 7.1": (
        "AES_256_CM_HMAC_SHA1_80",
        "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
        "f0f1f2f3f4f5f6f7f8f9fafbfcfd",
        "92bdd28a93c3f52511c677d08b5515a49da71b2378a854f67050756ded165bac63c4868b7096d88421b563b8c94c9a31",
    ),
}
HEADER = "8040f17b8041f8d35501a0b2"
GALLIA = b"Gallia est omnis divisa in partes tres"
SALT = "517569642070726f2071756f"
SEALED = {
    "RFC 7714 16.1": (
        "AEAD_AES_128_GCM",
        "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
    ),
    "RFC 7714 16.2": (
        "AEAD_AES_256_GCM",
        "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
    ),
}


def _one(session: SessionKeys, data: bytes, ssrc: int, payload: int) -> tuple[np.ndarray, Packets, list[Group]]:
    slots = np.zeros((1, PAD + SLOT), dtype=np.uint8)
    slots[0, PAD : PAD + len(data)] = np.frombuffer(data, np.uint8)
    columns = ([0], [0], [int.from_bytes(data[2:4], "big")], [PAD + 12], [PAD + 12 + payload])
    packets = Packets(*(np.array(column, dtype=np.int64) for column in columns))
    return slots, packets, [Group(0, ssrc, Key(MediaKey("", b""), session), 0)]


@pytest.mark.parametrize("name", DERIVED)
def test_session_keys_are_derived_as_printed(name: str) -> None:
    key, salt, *expected = (bytes.fromhex(text) for text in DERIVED[name])
    for label, size, wanted in zip((0, 2, 1), (len(key), 14, len(expected[2])), expected, strict=True):
        assert derive(key, salt, label, size) == wanted


@pytest.mark.parametrize("name", STREAMS)
def test_the_key_stream_is_as_printed(name: str) -> None:
    suite, key, salt, stream = STREAMS[name]
    session = SessionKeys(SUITES[suite], bytes.fromhex(key), bytes(20), bytes.fromhex(salt))
    data = bytes(12 + len(bytes.fromhex(stream)))
    slots, packets, groups = _one(session, data, 0, len(data) - 12)
    decrypt(slots, packets, np.array([0]), groups)
    assert slots[0, PAD + 12 : PAD + len(data)].tobytes() == bytes.fromhex(stream)


def test_the_key_stream_goes_on_over_its_second_byte() -> None:
    """RFC 3711 B.2 prints the blocks FEFF, FF00 and FF01 of the same stream, beyond what any packet of ours has."""
    _, key, salt, _ = STREAMS["RFC 3711 B.2"]
    session = SessionKeys(SUITES["AES_CM_128_HMAC_SHA1_80"], bytes.fromhex(key), bytes(20), bytes.fromhex(salt))
    blocks = b"".join((session.nonce | number).to_bytes(16, "big") for number in (0xFEFF, 0xFF00, 0xFF01))
    assert session.key_stream(blocks).hex().upper() == (
        "EC8CDF7398607CB0F2D21675EA9EA1E4362B7C3C6773516318A077D7FC5073AE6A2CC3787889374FBEB4C81B17BA6C44"
    )


@pytest.mark.parametrize("name", SEALED)
def test_gcm_opens_what_is_printed_and_nothing_else(name: str) -> None:
    suite, sealed = SEALED[name]
    session = SessionKeys(SUITES[suite], bytes(range(SUITES[suite].key)), b"", bytes.fromhex(SALT))
    data = bytes.fromhex(HEADER + sealed)
    slots, packets, groups = _one(session, data, 0x5501A0B2, len(GALLIA))
    for at in (0, 1, 12, len(data) - 1):
        slots[0, PAD + at] ^= 1
        assert not proven(slots, packets, np.array([0xF17B]), groups)[0]
        slots[0, PAD + at] ^= 1
    assert not proven(slots, packets, np.array([0x1F17B]), groups)[0], "another rollover counter"
    assert proven(slots, packets, np.array([0xF17B]), groups)[0]
    assert slots[0, PAD + 12 : PAD + 12 + len(GALLIA)].tobytes() == GALLIA


def test_a_key_of_another_length_or_suite_is_refused_and_not_quoted() -> None:
    for key in (MediaKey("AES_CM_128_HMAC_SHA1_80", b"short secret"), MediaKey("NULL_HMAC_SHA1_80", b"short secret")):
        assert "secret" not in repr(key)
        with pytest.raises(MediaError) as refused:
            SessionKeys.of(key)
        assert "short" not in str(refused.value)
