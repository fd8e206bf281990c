"""The user agent server (RFC 3261 §8.2, §9.2, §12.2.2, §13.3, §14.2, §15.1.2; RFC 3311, 4028). No I/O, no clock.

``receive`` takes a message and returns what it means for the calls; what must be sent is fetched with ``outgoing``.
What is refused here needs no policy: the RFC names the status, and the reason phrase names the header field.

A *call* is an INVITE and, after the 2xx, its dialog. Its owner answers every ``Invited`` and ``Modified`` once, with
``answer`` or ``reject``.

No provisional response but 100 is ever sent, so ``Require: 100rel`` (RFC 3262) costs nothing, and a PRACK finds nothing
to acknowledge (481). OPTIONS outside a dialog gets what an INVITE would get at that moment: 200 or 503.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from sipgate.errors import SipError
from sipgate.sip.call import Answered, Call, CallTimer, Invited, Modified, Over, UasEvent
from sipgate.sip.capabilities import ALLOWED, CAPABILITIES, RETRY_AFTER, check_extensions, companions, may_offer
from sipgate.sip.dialog import DialogId, dialog_id, dialog_of
from sipgate.sip.message import (
    MAGIC,
    Flow,
    Raw,
    Request,
    Response,
    answerable,
    beginning,
    check,
    reply,
    return_flow,
    split,
)
from sipgate.sip.session_timer import SessionTimer, agree
from sipgate.sip.timers import SECOND, T1, T2, Timers
from sipgate.sip.transaction import Transaction, Transactions

_BACK_OFF = 3 * SECOND
_NO_FAULT = frozenset({481, 482, 500})  # of a race, not of a request's form


class UserAgentServer:
    """All calls of a recording server.

    ``draw`` makes unguessable tokens (tags, branches). ``contact`` gives the Contact for a flow, and ``sent_by`` the
    transport and sent-by of a Via of ours. ``report`` is told of every request that is turned away for its form or for
    want of room: whence, status, reason phrase, which names fields and never values. More calls than ``capacity`` are
    not taken.
    """

    def __init__(
        self,
        draw: Callable[[], str],
        contact: Callable[[Flow], str],
        sent_by: Callable[[Flow], str],
        report: Callable[[Flow, int, str | None], None] = lambda _flow, _status, _reason: None,
        capacity: int = 1_000_000,
    ) -> None:
        self.available = True
        self._report = report
        self._capacity = capacity
        self._refreshing: dict[str, Call] = {}
        self._draw = draw
        self._contact = contact
        self._sent_by = sent_by
        self._transactions = Transactions()
        self._timers: Timers[Call, CallTimer] = Timers()
        self._dialogs: dict[DialogId, Call] = {}
        self._waiting: dict[Transaction, Call] = {}
        self._answered_invites: set[tuple[str, str, int]] = set()

    def outgoing(self) -> list[tuple[bytes, Flow]]:
        """Fetch what is to be sent, in order."""
        out, self._transactions.out = self._transactions.out, []
        return out

    def next_timer(self) -> int | None:
        """When ``handle_timer`` must be called, ns, or None."""
        times = [at for at in (self._transactions.timers.next(), self._timers.next()) if at is not None]
        return min(times, default=None)

    def receive(self, data: bytes, flow: Flow, now: int) -> list[UasEvent]:
        """Take in one whole message. Never raises: what is malformed is answered where it can be, or dropped."""
        try:
            raw = split(data)
        except SipError as error:
            with suppress(SipError):
                self._refuse_raw(split(beginning(data)), flow, error)
            return []
        try:
            message = check(raw)
        except SipError as error:
            self._refuse_raw(raw, flow, error)
            return []
        if isinstance(message, Response):
            self._transactions.receive_response(message, now)
            return self._refreshed(message, now)
        if message.method == "ACK":
            return self._receive_ack(message, now)
        transaction = self._transactions.receive(message, flow, now)
        if transaction is None:
            return []
        transaction.to_tag = self._draw()
        try:
            return self._dispatch(message, transaction, flow, now)
        except SipError as error:
            if error.sip_status not in _NO_FAULT:
                self._report(flow, error.sip_status, error.reason)
            self._respond(message, transaction, error.sip_status, now, error.reason, companions(error, message))
            return []

    def refuse_unframed(self, head: bytes, error: SipError, flow: Flow) -> None:
        """Answer what a stream could not frame, as far as it says whom to answer; the shell then closes the stream."""
        try:
            fields = split(head).fields
        except SipError:
            fields = {}
        self._report(flow, error.sip_status, error.reason)
        data = reply(fields, flow, error.sip_status, reason=error.reason, to_tag=self._draw())
        self._transactions.out.append((data, flow))

    def answer(self, call: Call, body: bytes, now: int, *, offers: bool = False) -> None:
        """200 to what waits, with an SDP body or none. A call that is over meanwhile is left alone.

        ``offers``: the body is an offer of ours (the INVITE brought none); the ACK will be told as Answered.
        """
        if call.pending is None:
            return
        request, transaction = call.pending
        call.pending = None
        self._waiting.pop(transaction, None)
        extra = [("Contact", self._contact_for(request, call.flow)), *CAPABILITIES]
        extra += [("Record-Route", route) for route in request.fields.get("record-route", ())]
        if body:
            extra.append(("Content-Type", "application/sdp"))
        extra += self._start_session_timer(call, agree(request), now)
        data = reply(request.fields, transaction.flow, 200, to_tag=call.dialog.local_tag, extra=extra, body=body)
        self._transactions.respond(transaction, 200, data, now)
        if not call.established:
            call.established = True
            self._dialogs[call.dialog.id] = call
            self._answered_invites.add(call.first)
        if request.method == "INVITE":
            call.offering = bool(body) and offers
            call.unacknowledged = (request.sequence, data, transaction)
            call.interval = T1
            self._timers.start(call, CallTimer.REPEAT, now + T1)
            self._timers.start(call, CallTimer.GIVE_UP, now + 64 * T1)

    def reject(
        self, call: Call, status: int, now: int, reason: str | None = None, extra: Iterable[tuple[str, str]] = ()
    ) -> None:
        """A final response of 300 to 699 to what waits; an established call goes on as it was (§14.2)."""
        if call.pending is None:
            return
        request, transaction = call.pending
        call.pending = None
        self._waiting.pop(transaction, None)
        self._respond(request, transaction, status, now, reason, extra)

    def postpone(self, call: Call, now: int) -> None:
        """100 to what waits, so that the client stops repeating it (§17.2.1)."""
        if call.pending is not None:
            request, transaction = call.pending
            if request.method == "INVITE":
                data = reply(request.fields, call.flow, 100)
                self._transactions.respond(transaction, 100, data, now)

    def end(self, call: Call, now: int) -> None:
        """Send BYE and forget the call (§15.1.1)."""
        if call.established:
            branch = MAGIC + self._draw()
            data = call.dialog.request("BYE", branch, self._sent_by(call.flow))
            self._transactions.request(branch, "BYE", data, call.flow, now)
        self._forget(call)

    def drop(self, call: Call) -> None:
        """Forget a call whose peer is out of reach; nothing is sent."""
        self._forget(call)

    def handle_timer(self, now: int) -> list[UasEvent]:
        """Run out what is due: repetitions, refreshes, and calls that are over.

        Over are those whose 2xx nobody acknowledged for 64·T1 (§13.3.1.4), and those that nobody refreshed.
        """
        self._transactions.handle_timers(now)
        events: list[UasEvent] = []
        for call, timer in self._timers.due(now):
            if timer is CallTimer.REPEAT:
                self._repeat(call, now)
            elif timer is CallTimer.REFRESH:
                self._refresh(call, now)
            else:
                self.end(call, now)
                events.append(Over(call, call.acknowledged))
        return events

    def _repeat(self, call: Call, now: int) -> None:
        if call.unacknowledged is not None:
            _, data, transaction = call.unacknowledged
            self._transactions.out.append((data, transaction.flow))
            call.interval = min(2 * call.interval, T2)
            self._timers.start(call, CallTimer.REPEAT, now + call.interval)

    def _start_session_timer(self, call: Call, timer: SessionTimer | None, now: int) -> list[tuple[str, str]]:
        call.timer = timer
        self._timers.stop(call, CallTimer.REFRESH)
        self._timers.stop(call, CallTimer.EXPIRE)
        if timer is None:
            return []
        self._timers.start(call, CallTimer.EXPIRE, now + timer.over_after * SECOND)
        if timer.ours:
            self._timers.start(call, CallTimer.REFRESH, now + timer.refresh_after * SECOND)
        return timer.fields()

    def _refresh(self, call: Call, now: int) -> None:
        if call.timer is None:
            return
        branch = MAGIC + self._draw()
        # In this request the one who refreshes, we, is the client (RFC 4028 §7.4).
        extra = [("Contact", self._contact(call.flow)), ("Supported", "timer")]
        extra.append(("Session-Expires", f"{call.timer.seconds};refresher=uac"))
        data = call.dialog.request("UPDATE", branch, self._sent_by(call.flow), extra)
        self._refreshing[branch] = call
        self._transactions.request(branch, "UPDATE", data, call.flow, now)

    def _refreshed(self, response: Response, now: int) -> list[UasEvent]:
        if response.status < 200 or response.method != "UPDATE":
            return []
        call = self._refreshing.pop(response.branch, None)
        if call is None or call.dialog.id not in self._dialogs:
            return []
        if response.status in {408, 481}:  # RFC 4028 §10: the client knows nothing of the session any more
            self.end(call, now)
            return [Over(call, True)]
        # Any other answer shows that the client lives and knows the session, even if it does not take UPDATE.
        self._start_session_timer(call, call.timer, now)
        if response.status in {491, 500, 503}:  # it was busy with a change of its own (RFC 3261 §14.1)
            self._timers.start(call, CallTimer.REFRESH, now + _BACK_OFF)
        return []

    def flow_lost(self, flow: Flow, now: int) -> list[UasEvent]:
        """A connection is gone: what waits on it for an answer can get none. Dialogs outlive connections (§18)."""
        events: list[UasEvent] = []
        for transaction, call in list(self._waiting.items()):
            if transaction.flow.channel == flow.channel:
                self._transactions.flow_lost(transaction, now)
                call.pending = None
                del self._waiting[transaction]
                if not call.established:
                    events.append(Over(call, False))
        return events

    def calls_on(self, flow: Flow) -> list[Call]:
        """The established calls whose latest request came over this connection."""
        return [call for call in self._dialogs.values() if call.flow.channel == flow.channel]

    def _dispatch(self, request: Request, transaction: Transaction, flow: Flow, now: int) -> list[UasEvent]:
        if request.method not in ALLOWED:
            raise SipError("the method is not supported", 405)
        if self._transactions.merged(transaction) or self._repeats_a_dialog(request):
            raise SipError("the request came twice by different ways", 482, "Loop Detected: Merged Request")
        if request.method == "CANCEL":
            return self._cancel(request, transaction, now)
        call = None
        if (identifier := dialog_id(request)) is not None:
            call = self._dialogs.get(identifier)
            if call is None:
                raise SipError("To names no dialog", 481)
        check_extensions(request)
        if request.method in {"INVITE", "UPDATE"}:
            agree(request)
        if call is None:
            return self._outside_dialog(request, transaction, flow, now)
        call.dialog.follow(request)
        call.flow = flow
        return self._inside_dialog(call, request, transaction, now)

    def _outside_dialog(self, request: Request, transaction: Transaction, flow: Flow, now: int) -> list[UasEvent]:
        if request.method in {"BYE", "UPDATE", "PRACK"}:
            raise SipError("To has no tag", 481)
        if not self.available or len(self._dialogs) + len(self._waiting) >= self._capacity:
            self._report(flow, 503, None if not self.available else "Service Unavailable: Capacity Reached")
            self._respond(request, transaction, 503, now, None, [RETRY_AFTER])
            return []
        if request.method == "OPTIONS":
            self._respond(
                request, transaction, 200, now, None, [("Contact", self._contact_for(request, flow)), *CAPABILITIES]
            )
            return []
        first = (request.call_id, request.from_tag, request.sequence)
        call = Call(dialog_of(request, transaction.to_tag or ""), first, flow, (request, transaction))
        self._waiting[transaction] = call
        return [Invited(call, request)]

    def _inside_dialog(self, call: Call, request: Request, transaction: Transaction, now: int) -> list[UasEvent]:
        if request.method == "OPTIONS":
            self._respond(request, transaction, 200, now, None, CAPABILITIES)
            return []
        if request.method == "BYE":
            self._respond(request, transaction, 200, now)
            self.reject(call, 487, now)
            self._forget(call)
            return [Over(call, True)]
        if request.method == "PRACK":
            raise SipError("PRACK acknowledges nothing", 481)
        if call.pending is not None:  # RFC 3261 §14.2, RFC 3311 §5.2
            reason = "Server Internal Error: Earlier CSeq Pending"
            wait = str(sum(self._draw().encode()) % 11)  # a random value of 0 to 10 seconds
            self._respond(request, transaction, 500, now, reason, [("Retry-After", wait)])
            return []
        if call.offering and may_offer(request):  # RFC 3261 §14.2, RFC 3311 §5.2: our offer waits for its answer
            self._respond(request, transaction, 491, now)
            return []
        call.pending = (request, transaction)
        self._waiting[transaction] = call
        return [Modified(call, request)]

    def _cancel(self, request: Request, transaction: Transaction, now: int) -> list[UasEvent]:
        invite = self._transactions.invite_of(request)
        if invite is None:
            raise SipError("no INVITE has the branch of this CANCEL", 481)
        transaction.to_tag = invite.to_tag  # §9.2: the same tag as the INVITE's response
        self._respond(request, transaction, 200, now)
        call = self._waiting.get(invite)
        if invite.answered or call is None:
            return []
        self.reject(call, 487, now)
        return [] if call.established else [Over(call, False)]

    def _receive_ack(self, ack: Request, now: int) -> list[UasEvent]:
        if self._transactions.acknowledge(ack, now):
            return []
        identifier = dialog_id(ack)
        call = self._dialogs.get(identifier) if identifier is not None else None
        if call is None or call.unacknowledged is None or call.unacknowledged[0] != ack.sequence:
            return []
        call.acknowledged = True
        self._stop_repeating(call)
        if not call.offering:
            return []
        call.offering = False
        return [Answered(call, ack)]

    def _repeats_a_dialog(self, request: Request) -> bool:
        # The transaction of a 2xx is forgotten after 32 s, the dialog is not: the same INVITE must not record twice.
        if request.to_tag is not None or request.method != "INVITE":
            return False
        return (request.call_id, request.from_tag, request.sequence) in self._answered_invites

    def _respond(
        self,
        request: Request,
        transaction: Transaction,
        status: int,
        now: int,
        reason: str | None = None,
        extra: Iterable[tuple[str, str]] = (),
    ) -> None:
        flow = transaction.flow
        data = reply(request.fields, flow, status, reason=reason, to_tag=transaction.to_tag, extra=extra)
        self._transactions.respond(transaction, status, data, now)

    def _contact_for(self, request: Request, flow: Flow) -> str:
        contact = self._contact(flow)
        secure = request.uri[:5].lower() == "sips:"  # then our Contact must be, too (§12.1.1)
        return contact.replace("<sip:", "<sips:", 1) if secure else contact

    def _refuse_raw(self, raw: Raw, flow: Flow, error: SipError) -> None:
        """Answer a malformed request without a transaction; never an ACK, never a response (§8.2.7, §17.1.1.3)."""
        method = raw.start.partition(" ")[0]
        if method == "ACK" or raw.start.startswith("SIP/") or not answerable(raw.fields):
            return
        self._report(flow, error.sip_status, error.reason)
        data = reply(raw.fields, flow, error.sip_status, reason=error.reason, to_tag=self._draw())
        self._transactions.out.append((data, return_flow(raw.fields, flow)))

    def _stop_repeating(self, call: Call) -> None:
        call.unacknowledged = None
        self._timers.stop(call, CallTimer.REPEAT)
        self._timers.stop(call, CallTimer.GIVE_UP)

    def _forget(self, call: Call) -> None:
        self._stop_repeating(call)
        self._start_session_timer(call, None, 0)
        for branch in [branch for branch, refreshed in self._refreshing.items() if refreshed is call]:
            del self._refreshing[branch]
        self._dialogs.pop(call.dialog.id, None)
        self._answered_invites.discard(call.first)
