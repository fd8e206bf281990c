"""SIPREC session recording server (RFC 7866) as a tap: INVITEs in, events out, answers back.

When a call begins: a recording session's INVITE says nothing about the answer by itself (a client may open it at
ringing). So each connection declares what does. Where it declares "answer", the answer is the moment at which the
INVITE came. Where it declares "metadata", it is the moment at which metadata came that has every participant, two at
least, associated with the session: not the time that the text gives, which is another machine's, and past. Where it
declares "early", the answer must come from elsewhere: another session of the call, or a tap that sees its signalling.

When it ends: BYE, CANCEL, a 2xx never acknowledged, or a client that is out of reach. A TCP connection that closes is
no end by itself (RFC 3261 §18; OpenSIPS closes idle ones after 120 s): the client's SIP port is tried, and only when
nobody is there has the signalling been lost.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from sipgate import config
from sipgate.core import events
from sipgate.core.events import Ended, Event, KeysChanged, Offered, PartiesChanged, StreamOffer, StreamsChanged
from sipgate.errors import ConfigurationError, SipError
from sipgate.sip.call import Answered, Call, Invited, Modified, Over, UasEvent
from sipgate.sip.capabilities import RETRY_AFTER, companions
from sipgate.sip.grammar import GrammarError, read_uri
from sipgate.sip.message import PHRASES, Flow, Request
from sipgate.sip.multipart import metadata_within
from sipgate.sip.transport import SipTransport
from sipgate.sip.uas import UserAgentServer
from sipgate.taps import tls
from sipgate.taps.cisco import headed_by
from sipgate.taps.complaints import Complaints
from sipgate.taps.offers import Offer, acceptable, read_offer
from sipgate.taps.parties import uris_of
from sipgate.taps.session import Session

_RESTREAM_SECONDS = 1.0  # a re-INVITE is answered by then, with the ports that there are
_REACH_SECONDS = 2.0


class SiprecTap:
    """The recording server. A *session* is a number drawn at random: it says nothing about the call."""

    def __init__(
        self,
        siprec: config.Siprec,
        country: str,
        media_address: str,
        now_ns: Callable[[], int],
        emit: Callable[[Event], None],
        own_tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.unreadable = 0  # metadata of which no party could be read: an alarm for health that names no one
        self.keys_shown: frozenset[str] = frozenset()
        """Connections that have offered SRTP keys over signalling that is not encrypted: for health."""
        self.refused_codecs: Counter[tuple[str, str]] = Counter()
        """By connection and encoding name: m-lines that offered nothing that can be kept."""
        self._siprec = siprec
        self._country = country
        self._media_address = media_address
        self._now_ns = now_ns
        self._emit = emit
        self._sessions: dict[int, Session] = {}
        self._numbers: dict[Call, int] = {}
        self._own_tls = own_tls
        self._connections: dict[tuple[str, frozenset[str]], config.Connection | None] = {}
        self._probes: set[asyncio.Task[None]] = set()
        self._complaints = Complaints()
        self._uas = UserAgentServer(
            lambda: secrets.token_hex(8), self._contact, self._sent_by, self._complain, siprec.capacity
        )
        self._transport = SipTransport(
            self._uas, now_ns, self._admits, self._handle, self._connection_lost, tls.names_of
        )

    @property
    def bound(self) -> tuple[tuple[str, str, int], ...]:
        """Transport, address and port of every socket that listens."""
        return self._transport.bound

    @property
    def available(self) -> bool:
        """Whether new sessions can be taken; while not, OPTIONS and INVITEs get 503."""
        return self._uas.available

    @available.setter
    def available(self, value: bool) -> None:
        self._uas.available = value

    async def start(self) -> None:
        """Listen on every configured socket. Raises ConfigurationError naming the key of one that cannot be had."""
        for index, listen in enumerate(self._siprec.listen):
            key = f"siprec.listen.{index}"
            context = tls.context_for(listen, key, self._own_context) if listen.transport == "tls" else None
            try:
                await self._transport.bind(listen.transport, str(listen.address), listen.port, context)
            except OSError as error:
                await self._transport.close()
                raise ConfigurationError(
                    f"{key}: {listen.transport} {listen.address} port {listen.port} cannot be had "
                    f"({error.strerror}); write another address or port, or stop who has it"
                ) from error

    async def stop(self) -> None:
        """Close every socket. Sessions are forgotten without a word: ``service`` ends recordings by itself."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for session in self._sessions.values():
            session.disarm()
        await self._transport.close()

    def accept(self, session: int, ports: Sequence[int]) -> None:
        """200 with an answer that names these ports, one for each offered stream. A session over is left alone."""
        found = self._sessions.get(session)
        if found is None or found.accepted:
            return
        found.accepted = True
        found.give_ports(ports)
        self._answer(found)

    def refuse(self, session: int) -> None:
        """603: the one response of all refusals by policy (R12)."""
        self._reject(session, 603)

    def unavailable(self, session: int) -> None:
        """503: the client should try another recorder."""
        self._reject(session, 503, [RETRY_AFTER])

    def end(self, session: int) -> None:
        """BYE: nothing of this session is wanted any more. Some clients go on all the same; nobody listens then."""
        found = self._sessions.get(session)
        if found is not None:
            now = self._now_ns()
            self._uas.end(found.call, now)
            self._handle([Over(found.call, True)], now)
            self._transport.flush()

    def restreamed(self, session: int, ports: Sequence[int]) -> None:
        """Answer the re-INVITE that changed the streams; one port for each of them, in order."""
        found = self._sessions.get(session)
        if found is None or not found.accepted:
            return
        found.give_ports(ports)
        self._answer(found)

    def metadata(self, session: int) -> bytes:
        """The metadata documents so far, as they came, one after the other."""
        found = self._sessions.get(session)
        return bytes(found.raw) if found is not None else b""

    def _reject(self, session: int, status: int, extra: Sequence[tuple[str, str]] = ()) -> None:
        found = self._sessions.get(session)
        if found is None or found.accepted:
            return
        self._forget(session)
        self._uas.reject(found.call, status, self._now_ns(), None, extra)
        self._transport.flush()

    def _answer(self, session: Session) -> None:
        session.disarm()
        if session.call.pending is None:
            return  # what changed the streams was an ACK
        if session.call.flow.transport != "tls" and any(stream.crypto for stream in session.streams):
            self.keys_shown |= {session.connection}
        body = session.describe(self._media_address)
        self._uas.answer(session.call, body, self._now_ns(), offers=session.offers)
        self._transport.flush()

    def _handle(self, events: list[UasEvent], now: int) -> None:
        for event in events:
            match event:
                case Invited(call, request):
                    self._guarded(call, request, now, self._invited)
                case Modified(call, request):
                    self._guarded(call, request, now, self._modified)
                case Answered(call, ack):
                    self._answered(call, ack, now)
                case Over(call, established):
                    number = self._numbers.get(call)
                    if number is not None:
                        self._emit(Ended(number, now, established))  # its metadata can still be fetched
                        self._forget(number)

    def _guarded(self, call: Call, request: Request, now: int, do: Callable[[Call, Request, int], None]) -> None:
        try:
            do(call, request, now)
        except SipError as error:
            self._complain(call.flow, error.sip_status, error.reason or f"{PHRASES[error.sip_status]}: {error}")
            extra = [*companions(error, request), *_warning(error)]
            self._uas.reject(call, error.sip_status, now, error.reason, extra)
        if call.pending is not None:
            self._uas.postpone(call, now)

    def _invited(self, call: Call, request: Request, now: int) -> None:
        connection = self._connection_of(call.flow)
        session = Session(call, connection.name if connection else "", uris_of(request), self._country)
        session.headed = headed_by(request)
        session.metadata.crossed = connection is not None and connection.crossed_streams
        if connection is not None and connection.behind_nat:
            session.networks = tuple(str(network) for network in connection.addresses)
        later = connection is not None and connection.parties == "later"
        documents, refusal = metadata_within(request), None
        self._read_metadata(session, documents, nameless=later)
        try:
            self._take_offer(session, self._read_offer(call.flow, request))
        except SipError as error:
            if error.sip_status != 488 and (not documents or b"" in documents):
                raise  # a body of which nothing is known, and who takes part neither
            refusal = error
        session.parties = session.find_parties()
        number = secrets.randbits(62)
        if refusal is None:
            self._sessions[number] = session
            self._numbers[call] = number
        begins = connection.begins if connection is not None else "early"
        is_answered = begins == "answer" or (begins == "metadata" and session.metadata.connected)
        session.waits = begins == "metadata" and not is_answered
        session.find_keys(request)
        half = session.headed is not None and session.headed.speaker is not None
        half = half and refusal is None
        answered, keys = now if is_answered and refusal is None else None, session.keys
        seen = (number, session.connection, session.parties, session.streams)
        self._emit(Offered(*seen, answered, now, keys.call, half, keys.story, later and not half))
        if refusal is not None:  # who takes part in it counts for the other sessions of its call all the same
            self._emit(Ended(number, now, False))
            raise refusal

    def _take_offer(self, session: Session, found: Offer) -> None:
        session.offers = found.description is None
        described = acceptable(found.description) if found.description is not None else None
        session.streams = session.take(described) if described is not None else session.placeholders()
        if not session.streams:
            raise SipError("every m-line is refused in advance: port 0", 488)

    def _modified(self, call: Call, request: Request, now: int) -> None:
        number = self._numbers[call]
        session = self._sessions[number]
        try:
            found = self._read_offer(call.flow, request)
            offer = acceptable(found.description) if found.description is not None else None
        except SipError:
            self._heed(number, session, request, now)
            raise
        self._read_metadata(session, found.metadata)
        session.offers = offer is None
        streams = session.take(offer) if offer is not None else session.streams
        session.header_uris |= uris_of(request)
        session.headed = headed_by(request) or session.headed
        self._tell_parties(number, session, request, now)
        if offer is None and request.method == "UPDATE":
            self._uas.answer(call, b"", now)
        elif not self._tell_streams(number, session, streams, now):
            self._answer(session)

    def _answered(self, call: Call, ack: Request, now: int) -> None:
        """The ACK brings the answer to our offer; one that does not leaves a session from which nothing can come."""
        number = self._numbers.get(call)
        if number is None:
            return
        session = self._sessions[number]
        try:
            found = self._read_offer(call.flow, ack)
            if found.description is None:
                raise SipError("the ACK brings no answer", reason="Bad ACK: No Session Description")
            streams = session.take_answer(acceptable(found.description))
        except SipError as error:
            self._complain(call.flow, error.sip_status, error.reason or str(error))
            self._heed(number, session, ack, now)
            self._uas.end(call, now)
            self._handle([Over(call, True)], now)
            return
        self._read_metadata(session, found.metadata)
        self._tell_parties(number, session, ack, now)
        self._tell_streams(number, session, streams, now)

    def _heed(self, number: int, session: Session, request: Request, now: int) -> None:
        """A change that is turned away for its description has happened all the same: who takes part counts (R12)."""
        self._read_metadata(session, metadata_within(request))  # an empty document: nobody is identified any more
        session.header_uris |= uris_of(request)
        session.headed = headed_by(request) or session.headed
        self._tell_parties(number, session, request, now)

    def _tell_parties(self, number: int, session: Session, request: Request, now: int) -> None:
        """Who takes part, in which call, and whether it is answered: where that has changed."""
        if session.find_keys(request):
            self._emit(KeysChanged(number, session.keys.call, session.keys.story, now))
        parties = session.find_parties()
        if parties != session.parties:
            session.parties = parties
            self._emit(PartiesChanged(number, parties, now))
        if session.waits and session.metadata.connected:
            session.waits = False
            self._emit(events.Answered(number, now))

    def _tell_streams(self, number: int, session: Session, streams: tuple[StreamOffer, ...], now: int) -> bool:
        """Whether they changed: then the answer comes with ``restreamed``."""
        changed = streams != session.streams
        session.streams = streams
        if changed:
            self._arm(session)
            self._emit(StreamsChanged(number, streams, now))
        return changed

    def _read_offer(self, flow: Flow, request: Request) -> Offer:
        found = read_offer(request)
        connection = self._connection_of(flow)
        if found.description is not None and connection is not None:
            refused = (name for line in found.description.media for name in line.refused_codecs)
            self.refused_codecs.update((connection.name, name) for name in refused)
        return found

    def _read_metadata(self, session: Session, documents: tuple[bytes, ...], nameless: bool = False) -> None:
        if not session.read_metadata(documents) and not nameless:
            self.unreadable += 1

    def _arm(self, session: Session) -> None:
        # What core does not restream (a call that it has discarded) must still get its answer.
        session.disarm()
        loop = asyncio.get_running_loop()
        session.fallback = loop.call_later(_RESTREAM_SECONDS, self._answer, session)

    def _forget(self, number: int) -> None:
        session = self._sessions.pop(number)
        session.disarm()
        del self._numbers[session.call]

    def _own_context(self) -> ssl.SSLContext:
        if self._own_tls is None:
            raise ConfigurationError("siprec.listen: there is no authority of sipgate's own; write certificate and key")
        return self._own_tls()

    def _complain(self, flow: Flow, status: int, reason: str | None) -> None:
        connection = self._connection_of(flow)
        self._complaints.add(connection.name if connection is not None else "", status, reason, self._now_ns())

    def _admits(self, flow: Flow) -> bool:
        return self._connection_of(flow) is not None

    def _connection_of(self, flow: Flow) -> config.Connection | None:
        who = (flow.address, flow.names)
        if who not in self._connections:
            peer = ip_address(flow.address.partition("%")[0])
            peer = getattr(peer, "ipv4_mapped", None) or peer
            found = (
                c
                for c in self._siprec.connection
                if any(peer in network for network in c.addresses)
                and (c.certificate is None or c.certificate.lower() in flow.names)
            )
            if len(self._connections) > 10_000:  # strangers may be many
                self._connections.clear()
            self._connections[who] = next(found, None)
        return self._connections[who]

    def _connection_lost(self, flow: Flow) -> None:
        calls = self._uas.calls_on(flow)
        if calls:
            probe = asyncio.get_running_loop().create_task(self._probe(flow, calls))
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)

    async def _probe(self, flow: Flow, calls: list[Call]) -> None:
        """End the calls of a client whom nobody reaches at the port that its Contact, or the proxy before it, names."""
        reached: dict[int, bool] = {}
        for call in calls:
            port = _port_of(call.dialog.next_hop)
            if port not in reached:
                reached[port] = await _reaches(flow.address, port)
            if not reached[port] and call.flow.channel == flow.channel and call in self._numbers:
                self._uas.drop(call)
                self._handle([Over(call, True)], self._now_ns())
        self._transport.flush()

    def _contact(self, flow: Flow) -> str:
        transport = f";transport={flow.transport}" if flow.reliable else ""
        return f"<sip:{self._host_port(flow)}{transport}>;+sip.srs"

    def _sent_by(self, flow: Flow) -> str:
        return f"{flow.transport.upper()} {self._host_port(flow)}"

    def _host_port(self, flow: Flow) -> str:
        _, address, port = self._transport.local(flow)
        if address in {"0.0.0.0", "::"}:
            address = self._media_address
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _warning(error: SipError) -> list[tuple[str, str]]:
    return [("Warning", f'305 sipgate "Incompatible media format: {error}"')] if error.sip_status == 488 else []


def _port_of(target: str) -> int:
    try:
        uri = read_uri(target)
    except GrammarError:
        return 5060
    return uri.port or (5061 if uri.scheme == "sips" or "transport=tls" in target.lower() else 5060)


async def _reaches(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
