"""Dialogs, as the side that was called sees them (RFC 3261 §12). No I/O, no clock.

A dialog is named by Call-ID, our tag and the peer's. The peer's CSeq must rise; ours counts what we send: a BYE, and
UPDATEs where the client wants us to refresh its session timer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sipgate.errors import SipError
from sipgate.sip.message import Request, address_of

DialogId = tuple[str, str, str]


@dataclass(slots=True, eq=False, repr=False)
class Dialog:
    """One dialog. ``local`` and ``remote`` are To and From of the first request, the latter as it came."""

    call_id: str
    local_tag: str
    remote_tag: str
    local: str
    remote: str
    remote_target: str
    route_set: tuple[str, ...]
    remote_sequence: int
    local_sequence: int = field(default=0)

    @property
    def id(self) -> DialogId:
        """What in-dialog requests are found by."""
        return self.call_id, self.local_tag, self.remote_tag

    @property
    def next_hop(self) -> str:
        """Where a request of ours goes: the first proxy of the route set, else the peer itself (§12.2.1.1)."""
        if not self.route_set:
            return self.remote_target
        try:
            return address_of(self.route_set[0], "record-route").uri
        except SipError:
            return self.remote_target

    def follow(self, request: Request) -> None:
        """Take in a request of the dialog (RFC 3261 §12.2.2): its CSeq, and a new Contact if it refreshes the target.

        Raises SipError 500 when the CSeq is lower than an earlier one: it came out of order.
        """
        if request.method == "ACK":
            return
        if request.sequence < self.remote_sequence:
            raise SipError("CSeq is out of order", 500, "Server Internal Error: CSeq Out Of Order")
        self.remote_sequence = request.sequence
        if request.method in {"INVITE", "UPDATE"} and request.get("contact") is not None:
            self.remote_target = _target(request)

    def request(self, method: str, branch: str, via: str, extra: Iterable[tuple[str, str]] = ()) -> bytes:
        """A request of ours without a body (RFC 3261 §12.2.1.1). ``via`` is our transport and sent-by."""
        self.local_sequence += 1
        lines = [
            f"{method} {self.remote_target} SIP/2.0",
            f"Via: SIP/2.0/{via};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: {self.local};tag={self.local_tag}",
            f"To: {self.remote}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.local_sequence} {method}",
            *(f"Route: {route}" for route in self.route_set),
            *(f"{name}: {value}" for name, value in extra),
            "Content-Length: 0\r\n\r\n",
        ]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def dialog_of(invite: Request, local_tag: str) -> Dialog:
    """The dialog that a 2xx to this INVITE will establish (RFC 3261 §12.1.1). Raises SipError for its Contact."""
    return Dialog(
        call_id=invite.call_id,
        local_tag=local_tag,
        remote_tag=invite.from_tag,
        local=invite.fields["to"][0],
        remote=invite.fields["from"][0],
        remote_target=_target(invite),
        route_set=tuple(invite.fields.get("record-route", ())),
        remote_sequence=invite.sequence,
    )


def dialog_id(request: Request) -> DialogId | None:
    """Which dialog a request names, or None when it names none."""
    if request.to_tag is None:
        return None
    return request.call_id, request.to_tag, request.from_tag


def _target(request: Request) -> str:
    value = request.get("contact")
    if value is None and not request.from_tag:  # RFC 2543 §6.13: without Contact, From says where the caller is
        value = request.fields["from"][0]
    if value is None:
        raise SipError("Contact is missing", reason="Missing Contact Header Field")
    return address_of(value, "contact").uri
