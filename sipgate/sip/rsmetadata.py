"""Recording metadata (RFC 7865): who takes part, who speaks on which stream; complete documents and partial updates.

Every namespace is read (RFC 7865's ``…:recording:1``, ``…:recording``, the drafts' ``…:siprec``): elements are known by
their local names in lower case, and attributes in either spelling (``participant_id``, or ``id`` of the drafts, where
``send`` and ``recv`` stand inside the participant, at BroadWorks with an ``id`` inside, below ``recording_metadata``).

A stream that nobody sends is sent by whoever does not receive it, where two take part. ``crossed`` swaps send and recv,
for clients (some Ribbon and Sonus) whose metadata has them the wrong way round.

Real clients send XML that is none: OpenSIPS does not escape ``&`` in display names, Oracle's extensions leave out the
quotes of attributes, AudioCodes' use a prefix that nothing declares. So prefixes are never resolved, and all the rest
is mended if that suffices; else the identities are scanned for, since a party who is in the text must be seen (R12). A
document with a DTD is never read: entities could hide who is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate
from xml.sax.saxutils import unescape

from sipgate.errors import MetadataError

MAX_PARTICIPANTS = 64

_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)")
_NO_XML_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_TAG = re.compile(r"<[^<>]*>")
_VALUE = re.compile(r"""("[^"]*"|'[^']*')|(\s[\w:.-]+\s*=\s*)([^\s"'<>]*?)(?=/?>|\s)""")
_PARTICIPANT = re.compile(r"<(?:\w+:)?participant[\s>].*?(?=<(?:\w+:)?participant[\s>]|\Z)", re.DOTALL)
_AOR = re.compile(r"""\saor\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_SESSION_ID = re.compile(r"<(?:\w+:)?sipSessionID[^>]*>([^<]+)<", re.IGNORECASE)
_URI = re.compile(r"""\b(?:sips?|tel):[^\s<>"',]+""", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:sips?|tel):")
_QUOTES = {"&quot;": '"', "&apos;": "'", "&#34;": '"', "&#39;": "'", "&#60;": "<", "&#62;": ">"}
_REFERENCE = re.compile(r"&#(?:[xX]([0-9A-Fa-f]{1,6})|([0-9]{1,7}));")
_BRACKET = re.compile('[<>"]')


@dataclass(frozen=True, slots=True, repr=False)
class Participant:
    """One participant: every address of record that its nameIDs give, in order."""

    aors: tuple[str, ...]


@dataclass(slots=True, repr=False)
class Metadata:
    """What the documents so far say together.

    ``participants`` is in the order in which they were first named. ``labels``: stream id to SDP label. ``sends``:
    participant id to the ids of the streams that it sends. ``mentioned``: every SIP or tel URI anywhere in the text,
    vendors' extensions included. ``session_ids``: the Call-IDs of the recorded call. ``caller``: what names the caller,
    if anything does (BroadWorks' ``callingPartyNumber``, Oracle's ``callingParty``, the drafts' ``initiator``).
    ``sessions`` and ``groups``: ids of the communication sessions and their groups. ``associated``: ids of participants
    who have joined a session and not left it (RFC 7865 §6.6, with a time).
    """

    participants: dict[str, Participant] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    sends: dict[str, frozenset[str]] = field(default_factory=dict)
    mentioned: frozenset[str] = frozenset()
    session_ids: frozenset[str] = frozenset()
    receives: dict[str, frozenset[str]] = field(default_factory=dict)
    caller: str | None = None
    crossed: bool = False
    sessions: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    associated: frozenset[str] = frozenset()

    @property
    def connected(self) -> bool:
        """Whether everybody, two at least, has joined the session: evidence of the answer from who means it so."""
        return len(self.participants) > 1 and self.associated >= self.participants.keys()

    @property
    def ordered(self) -> tuple[str, ...]:
        """The participants' ids, the caller first where that is known, else as they were named."""
        found = tuple(self.participants)
        called = self.caller
        if called is None:
            return found
        first = [i for i in found if any(_user(aor) == _user(called) for aor in self.participants[i].aors)][:1]
        return (*first, *(i for i in found if i not in first))

    def sent_labels(self, participant_id: str) -> frozenset[str]:
        """The SDP labels of the streams that a participant sends."""
        sends, receives = (self.receives, self.sends) if self.crossed else (self.sends, self.receives)
        streams = sends.get(participant_id, frozenset())
        if len(self.participants) == 2 and participant_id in self.participants:
            unsent = set(self.labels).difference(*sends.values())
            (other,) = self.participants.keys() - {participant_id}
            streams |= {s for s in unsent if s in receives.get(other, ()) and s not in receives.get(participant_id, ())}
        return frozenset(self.labels[stream] for stream in streams if stream in self.labels)

    def update(self, document: bytes) -> None:
        """Take in one document: a complete one replaces, a partial one is merged (RFC 7865 §6.1.1, RFC 7866 §9.1).

        Raises MetadataError when no party can be read of a document that should name some; nothing has changed then.
        """
        root = _read(document)
        if root is None:
            self._scan(_spelt_out(_text(document)))
            return
        mode = _child_text(root, "datamode")
        # Without a mode, a document that names nobody is about something else: it updates.
        complete = mode.lower() != "partial" if mode else any(e.tag == "participant" for e in root)
        fresh = Metadata(crossed=self.crossed) if complete else self._copy()
        fresh._merge(root)
        if complete and not any(p.aors for p in fresh.participants.values()):
            raise MetadataError("the metadata names no participant")
        fresh.mentioned |= _uris(_text(document))
        self._become(fresh)

    def _copy(self) -> Metadata:
        return Metadata(
            dict(self.participants),
            dict(self.labels),
            dict(self.sends),
            self.mentioned,
            self.session_ids,
            dict(self.receives),
            self.caller,
            self.crossed,
            self.sessions,
            self.groups,
            self.associated,
        )

    def _become(self, other: Metadata) -> None:
        self.participants, self.labels, self.sends = other.participants, other.labels, other.sends
        self.mentioned, self.session_ids = other.mentioned, other.session_ids
        self.receives, self.caller = other.receives, other.caller
        self.sessions, self.groups, self.associated = other.sessions, other.groups, other.associated

    def _merge(self, root: Element) -> None:
        sends: dict[str, set[str]] = {}
        receives: dict[str, set[str]] = {}
        here: dict[str, bool] = {}
        for element in root:
            match element.tag:
                case "participant":
                    self._merge_participant(element, sends, receives)
                case "stream":
                    if label := _child_text(element, "label"):
                        self.labels[_id(element, "stream")] = label
                case "participantstreamassoc":
                    _collect("send", _id(element, "participant"), element, sends)
                    _collect("recv", _id(element, "participant"), element, receives)
                case "participantsessionassoc":
                    self._merge_association(element, here)
                case "session" | "group" as kind:
                    self._merge_session(element, kind)
        self.sends |= {identifier: frozenset(streams) for identifier, streams in sends.items()}
        self.receives |= {identifier: frozenset(streams) for identifier, streams in receives.items()}
        self.caller = _caller(root) or self.caller
        for identifier, stays in here.items():
            if not stays:  # who has left every session of this document is not a party any more
                self.participants.pop(identifier, None)
                self.sends.pop(identifier, None)
                self.associated -= {identifier}

    def _merge_association(self, element: Element, here: dict[str, bool]) -> None:
        identifier = _id(element, "participant")
        stays = _child_text(element, "disassociate-time") is None
        here[identifier] = here.get(identifier, False) or stays
        if stays and _child_text(element, "associate-time"):
            self.associated |= {identifier}

    def _merge_session(self, element: Element, kind: str) -> None:
        identifier = {_id(element, kind)} - {""}
        if kind == "group":
            self.groups |= identifier
            return
        self.sessions |= identifier
        self.session_ids |= _texts(element, "sipsessionid")
        self.groups |= _texts(element, "group-ref")

    def _merge_participant(self, element: Element, sends: dict[str, set[str]], receives: dict[str, set[str]]) -> None:
        identifier = _id(element, "participant") or f"#{len(self.participants)}"
        aors: list[str] = []
        for name in element.iter():
            aor = name.get("aor") or (name.text if name.tag == "aor" else None)
            if aor and aor.strip():
                aors.append(aor.strip())
        known = self.participants.get(identifier)
        if aors or known is None:
            self.participants[identifier] = Participant(tuple(aors))
        if len(self.participants) > MAX_PARTICIPANTS:
            raise MetadataError("the metadata names too many participants")
        for kind, found in (("send", sends), ("recv", receives)):
            if any(child.tag == kind for child in element):
                _collect(kind, identifier, element, found)

    def _scan(self, text: str) -> None:
        found: dict[str, Participant] = {}
        for index, match in enumerate(_PARTICIPANT.finditer(text)):
            aors = tuple(unescape(a or b, _QUOTES).strip() for a, b in _AOR.findall(match[0]))
            if any(aors) and index < MAX_PARTICIPANTS:
                found[f"scanned #{index}"] = Participant(aors)
        if not found:
            raise MetadataError("the metadata is no XML, and no participant can be read out of it")
        self.participants, self.labels, self.sends, self.receives = found, {}, {}, {}
        self.associated = frozenset()
        self.mentioned |= _uris(text)
        self.session_ids |= {text.strip() for text in _SESSION_ID.findall(text)}


def _texts(element: Element, name: str) -> set[str]:
    return {text for child in element if child.tag == name and (text := (child.text or "").strip())}


def _collect(kind: str, participant: str, element: Element, into: dict[str, set[str]]) -> None:
    streams = {"".join(child.itertext()).strip() for child in element if child.tag == kind}
    known = into.setdefault(participant, set())
    if _child_text(element, "disassociate-time") is None:
        known |= streams


def _caller(root: Element) -> str | None:
    named = {e.tag: text for e in root.iter() if (text := (e.text or "").strip())}
    return named.get("callingpartynumber") or _calling_party(root) or named.get("initiator")


def _calling_party(root: Element) -> str | None:
    for participant in root:
        if participant.tag == "participant":
            said = {(e.text or "").strip().lower() for e in participant.iter("callingparty")}
            if "true" in said:
                return next((aor for e in participant.iter() if (aor := e.get("aor"))), None)
    return None


def _user(uri: str) -> str:
    return _SCHEME.sub("", uri.strip().lower()).partition("@")[0].partition(";")[0]


def _read(document: bytes) -> Element | None:
    """The root; None when it is no recording's or cannot even be mended. Raises MetadataError for a DTD."""
    for attempt in (document, None):
        try:
            root = _parse(_mended(document) if attempt is None else attempt)
        except (ExpatError, ValueError, LookupError):
            continue
        return root if root.tag in {"recording", "recording_metadata"} else None
    return None


def _parse(text: bytes | str) -> Element:
    # ElementTree's own parser cannot refuse a DTD; expat's handlers into its builder can, and cost a third of it.
    builder = TreeBuilder()
    parser = ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: builder.start(_local(tag), attributes)
    parser.EndElementHandler = lambda tag: builder.end(_local(tag))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_dtd
    parser.buffer_text = True
    parser.Parse(text, True)
    return builder.close()


@lru_cache(maxsize=256)  # the names of elements, that is, never of people
def _local(tag: str) -> str:
    return tag.rpartition(":")[2].lower()


def _refuse_dtd(*_: object) -> None:
    raise MetadataError("the metadata brings a DTD, which is never read")


def _mended(document: bytes) -> str:
    text = _BARE_AMPERSAND.sub("&amp;", _NO_XML_CHARACTER.sub("", _text(document))).strip()
    return _TAG.sub(lambda tag: _VALUE.sub(_quoted, tag[0]), text)


def _quoted(found: re.Match[str]) -> str:
    return found[0] if found[1] else f'{found[2]}"{found[3]}"'


def _text(document: bytes) -> str:
    if document.startswith((b"\xff\xfe", b"\xfe\xff")):
        return document.decode("utf-16", "replace")
    return document.decode("utf-8-sig", "replace")


def _spelt_out(text: str) -> str:
    """With the references decoded that spell a letter or a digit of an address: ``2&#49;00`` is 2100."""
    return _REFERENCE.sub(_character, text) if "&#" in text else text


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16) if found[1] else int(found[2])
    plain = code < 128 and (chr(code).isalnum() or chr(code) in "+@:.%-_")
    return chr(code) if plain else found[0]


def _uris(text: str) -> frozenset[str]:
    # A name-addr in an extension (Oracle's Diversion) ends with an escaped bracket, which is none of the URI.
    return frozenset(_BRACKET.split(unescape(uri, _QUOTES), maxsplit=1)[0] for uri in _URI.findall(_spelt_out(text)))


def _id(element: Element, kind: str) -> str:
    return (element.get(f"{kind}_id") or element.get("id") or element.get(kind) or "").strip()


def _child_text(element: Element, name: str) -> str | None:
    for child in element:
        if child.tag == name:
            return (child.text or "").strip() or None
    return None
