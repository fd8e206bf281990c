"""A recording client's side of one dialog: the next request, its answer, the ACK."""

from __future__ import annotations

from collections.abc import Sequence

from tests.peers.recorder import UdpClient
from tests.peers.sip_messages import MIXED, field_of, request, status_of, tag_of


class Dialogue:
    """One recording session of a UDP client of ours, request by request."""

    def __init__(self, client: UdpClient, call_id: str = "session-1@client") -> None:
        self.client = client
        self.call_id = call_id
        self.sequence = 0
        self.tag = ""

    async def ask(
        self,
        method: str = "INVITE",
        body: bytes = b"",
        content_type: str = MIXED,
        *,
        extra: Sequence[str] = (),
        drop: Sequence[str] = (),
        answer_body: bytes = b"",
    ) -> bytes:
        """Send the next request of the dialog and return its final answer; a 2xx to INVITE is acknowledged.

        ``answer_body``: SDP that the ACK brings.
        """
        self.sequence += 1
        answer = await self.client.ask(self.message(method, body, content_type, extra=extra, drop=drop))
        while status_of(answer) < 200:
            answer = await self.client.answer()
        self.tag = self.tag or tag_of(field_of(answer, "To"))
        if method == "INVITE":
            branch = f"z9hG4bK{self.sequence}{'INVITE' if status_of(answer) >= 300 else 'ACK'}"
            self.client.send(self.message("ACK", answer_body, "application/sdp", branch))
        return answer

    def message(
        self,
        method: str,
        body: bytes,
        content_type: str,
        branch: str | None = None,
        *,
        extra: Sequence[str] = (),
        drop: Sequence[str] = (),
    ) -> bytes:
        """The next request's bytes."""
        return request(
            method,
            branch=branch or f"z9hG4bK{self.sequence}{method}",
            sent_by=self.client.sent_by,
            call_id=self.call_id,
            to_tag=self.tag or None,
            sequence=self.sequence,
            body=body,
            content_type=content_type if body else None,
            extra=extra,
            drop=drop,
        )


def ports_of(answer: bytes) -> list[int]:
    """The port of each m-line."""
    return [int(line.split()[1]) for line in answer.decode().split("\r\n") if line.startswith("m=")]
