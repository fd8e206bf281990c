"""What a recording client says about the call it has recorded: a complete snapshot of RFC 7865, one session, two
participants, two streams. Shares no code with the recorder that reads it."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr


@dataclass(frozen=True)
class Snapshot:
    """``document`` is the XML; ``traces`` are the names in it by which this one call could be found again."""

    document: str = field(repr=False)
    traces: tuple[str, ...] = field(repr=False)


def snapshot(caller: str, callee: str, at_ns: int) -> Snapshot:
    """The caller sends the stream labelled 1, the callee the one labelled 2, both since ``at_ns`` (Unix, ns)."""
    group, session, *others = (_unique_id() for _ in range(6))
    parties, streams = others[:2], others[2:]
    sip_session = f"{uuid.uuid4().hex};remote={uuid.uuid4().hex}"  # RFC 7989: the two halves of a Session-ID
    at = datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    since = f"<associate-time>{at}</associate-time>"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<recording xmlns='urn:ietf:params:xml:ns:recording:1'>",
        "<datamode>complete</datamode>",
        f'<group group_id="{group}">{since}</group>',
        f'<session session_id="{session}"><sipSessionID>{sip_session}</sipSessionID>',
        f"<group-ref>{group}</group-ref></session>",
        *(
            f'<participant participant_id="{party}"><nameID aor={quoteattr(aor)}>'
            f'<name xml:lang="en">{escape(name)}</name></nameID></participant>'
            for party, aor, name in zip(parties, (caller, callee), ("Caller", "Callee"), strict=True)
        ),
        *(
            f'<stream stream_id="{stream}" session_id="{session}"><label>{label}</label></stream>'
            for label, stream in enumerate(streams, start=1)
        ),
        f'<sessionrecordingassoc session_id="{session}">{since}</sessionrecordingassoc>',
        *(
            f'<participantsessionassoc participant_id="{party}" session_id="{session}">{since}'
            "</participantsessionassoc>"
            for party in parties
        ),
        *(
            f'<participantstreamassoc participant_id="{party}"><send>{sent}</send><recv>{heard}</recv>'
            "</participantstreamassoc>"
            for party, sent, heard in zip(parties, streams, reversed(streams), strict=True)
        ),
        "</recording>",
    ]
    return Snapshot("\r\n".join(lines) + "\r\n", (session, *parties, *streams, *sip_session.split(";remote=")))


def _unique_id() -> str:
    """A UUID in base64 (RFC 7865 §5.1)."""
    return base64.b64encode(uuid.uuid4().bytes).decode()
