"""The codecs of an m-line (RFC 8866 §6.6, §6.15; RFC 3551): which of those offered are taken, what is answered. Pure.

Taken is what can be kept (``media.codecs``), in the offerer's order of preference, each with the offerer's own rtpmap
and the parameters that an answer must repeat. Comfort noise (RFC 3389) and telephone-event (RFC 4733) are taken beside
a codec of sound, never alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

EVENTS = "telephone-event"
_BESIDE = frozenset({"CN", EVENTS})
_EIGHT = ("PCMU", "PCMA", "G722", "G729", "G729A", "G729B", "G729AB", "GSM", "ILBC", "CN", EVENTS)
_RATES = (16, 24, 32, 40)
_TAKEN = (
    {(name, 8000) for name in _EIGHT}  # G.722's clock is 8000 though it samples at 16000: RFC 3551 §4.5.2
    | {(f"{prefix}G726-{rate}", 8000) for prefix in ("", "AAL2-") for rate in _RATES}
    | {("OPUS", 48000), (EVENTS, 48000)}
)
_STATIC = {
    0: ("PCMU", 8000),
    2: ("G726-32", 8000),  # RFC 1890's; withdrawn, still sent
    3: ("GSM", 8000),
    8: ("PCMA", 8000),
    9: ("G722", 8000),
    13: ("CN", 8000),
    18: ("G729", 8000),
}
_STATIC_REFUSED = {4: "G723", 5: "DVI4", 6: "DVI4", 7: "LPC", 10: "L16", 11: "L16", 12: "QCELP", 15: "G728"}
_REGISTERED = (
    "AMR AMR-WB AMR-WB+ AC3 BV16 BV32 CLEARMODE DVI4 EVRC EVRC0 EVRC1 EVRCB EVRCB0 EVRCB1 EVRCNW EVRCWB EVS FLAC "
    "G719 G7221 G723 G7291 G728 GSM-EFR GSM-HR-08 ISAC L8 L16 L20 L24 LPC LYRA MELP MP4A-LATM MPA MPEG4-GENERIC "
    "QCELP RED RT-AUDIO SILK SIREN SMV SMV0 SPEEX TETRA_ACELP ULPFEC VDVI VMR-WB VORBIS X-MSRTA"
)
_SAYABLE = frozenset(_REGISTERED.split(" ")) | {name for name, _ in _TAKEN}
"""Names that may be said of a peer's codecs: what else it writes there could be anything."""
_NUMBER = re.compile(r"[0-9]{1,3}")
_RTPMAP = re.compile(r"([0-9]{1,3})\s+([^\s/]+)/([0-9]{1,7})(?:/([0-9]{1,3}))?")
_FMTP = re.compile(r"([0-9]{1,3})\s+(.*)")
_REPEATED = {"ILBC": re.compile(r"mode=(?:20|30)"), "G729": re.compile(r"annexb=(?:yes|no)")}
OFFERED = (
    (0, "PCMU"),
    (8, "PCMA"),
    (9, "G722"),
    (96, "OPUS"),
    (18, "G729"),
    (3, "GSM"),
    (97, "ILBC"),
    (98, "G726-32"),
    (13, "CN"),
    (101, EVENTS),
)
"""What we offer by ourselves: what needs no number of ours to be understood first, but for Opus."""


@dataclass(frozen=True, slots=True)
class Codecs:
    """``taken``: payload types and encoding names in capitals (but for telephone-event), in the offerer's order.
    ``lines``: the answer's, of these. ``refused``: where nothing is taken, the encoding names that there were."""

    taken: tuple[tuple[int, str], ...] = ()
    lines: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def read(section: Sequence[str], formats: Sequence[str]) -> Codecs:
    """Of the lines of one m-line, and the payload types it names."""
    said = dict(_STATIC)
    written: dict[int, str] = {}
    parameters: dict[int, str] = {}
    for line in section:
        name, _, value = line.partition(":")
        if name == "a=rtpmap":
            _read_rtpmap(value.strip(), said, written)
        elif name == "a=fmtp" and (match := _FMTP.fullmatch(value.strip())):
            parameters[int(match[1])] = match[2]
    numbers = [n for n in dict.fromkeys(int(text) for text in formats if _NUMBER.fullmatch(text)) if n < 128]
    taken = tuple((n, said[n][0]) for n in numbers if said.get(n) in _TAKEN)
    if all(name in _BESIDE for _, name in taken):
        found = {said[n][0] if n in said else _STATIC_REFUSED.get(n, "") for n in numbers} - _BESIDE
        return Codecs(refused=tuple(sorted(name if name in _SAYABLE else "another" for name in found)))
    lines = [text for n, name in taken for text in _described(n, name, written.get(n), parameters.get(n, ""))]
    return Codecs(taken, tuple(lines))


def offered() -> Codecs:
    """What we offer by ourselves."""
    return Codecs(OFFERED, tuple(text for number, name in OFFERED for text in _described(number, name, None, "")))


def _read_rtpmap(text: str, said: dict[int, tuple[str, int]], written: dict[int, str]) -> None:
    match = _RTPMAP.fullmatch(text)
    if match is None:  # RFC 4475's own have no clock rate; what it says of its payload type is unknown
        if unreadable := _NUMBER.match(text):
            said.pop(int(unreadable[0]), None)
        return
    number, name, rate, channels = int(match[1]), match[2].upper(), int(match[3]), match[4]
    said.pop(number, None)
    if channels in {None, "1"} or (name == "OPUS" and channels == "2"):  # RFC 7587 §7: always written so
        said[number] = (EVENTS if name == EVENTS.upper() else name, rate)
        written[number] = f"{match[2]}/{rate}" + (f"/{channels}" if channels else "")


def _described(number: int, name: str, written: str | None, parameters: str) -> list[str]:
    plain = {"OPUS": "opus/48000/2", "ILBC": "iLBC/8000"}.get(name, f"{name}/8000")
    lines = [f"a=rtpmap:{number} {written or plain}"]
    repeated = _REPEATED.get("G729" if name.startswith("G729") else name)
    if name == EVENTS:
        lines.append(f"a=fmtp:{number} 0-15")
    elif repeated is not None and (match := repeated.search(parameters.lower())):
        lines.append(f"a=fmtp:{number} {match[0]}")
    return lines
