"""The process behind ``telephone``.

Run as ``python -m sipgate.phones.telephone_worker`` by ``worker.Worker``. Reports ``ready``, ``registered``,
``incoming``, ``answered``, ``digit``, ``over``; takes ``call``, ``answer``, ``decline``, ``press``, ``hang_up``.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import count
from typing import Any

import pjsua2 as pj

from sipgate.phones.stack import CLOSING_SECONDS, Parent, Stack, failures_reported, player, recorder

_UP = (pj.PJSIP_INV_STATE_CONNECTING, pj.PJSIP_INV_STATE_CONFIRMED)


class _Call(pj.Call):
    """One call. Callbacks note times and facts; ``Set`` acts on them between polls."""

    def __init__(self, account: Any, name: str, number: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, number)
        self.name = name
        self.play: str | None = None
        self.record: str | None = None
        self.sounds: list[Any] = []
        self.status = 0
        self.answered_at_ns: int | None = None
        self.over_at_ns: int | None = None
        self.hung_up_here = False
        self.media_ready = False
        self.answer_said = False
        self.digits: deque[str] = deque()

    def onCallState(self, prm: Any) -> None:
        now = time.time_ns()
        info = self.getInfo()
        if info.state in _UP:
            self.answered_at_ns = self.answered_at_ns or now
            self.status = 200
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.over_at_ns = now
            self.status = self.status or info.lastStatusCode

    def onCallMediaState(self, prm: Any) -> None:
        self.media_ready = True

    def onDtmfDigit(self, prm: Any) -> None:
        self.digits.append(prm.digit)


class _Account(pj.Account):
    """Notes what comes in and how registering went."""

    def __init__(self) -> None:
        super().__init__()
        self.incoming: deque[_Call] = deque()
        self._numbers = count(1)
        self.registered: deque[int] = deque()

    def onIncomingCall(self, prm: Any) -> None:
        # The library refuses a call that has no object by the end of this callback.
        self.incoming.append(_Call(self, f"incoming {next(self._numbers)}", prm.callId))

    def onRegState(self, prm: Any) -> None:
        self.registered.append(prm.code)


class Set:
    """The telephone set: an account and its calls."""

    def __init__(self, parent: Parent, order: dict[str, Any], doing: dict[str, str]) -> None:
        self._parent, self._doing = parent, doing
        doing["what"] = "starting the SIP stack"
        self._stack = Stack(order["local_address"], order["transport"], order["port"], order["codecs"])
        self._account = _Account()
        self._account.create(self._account_config(order))
        self._calls: dict[str, _Call] = {}
        parent.say("ready", bound=self._stack.bound)

    def run(self) -> None:
        """Until the parent closes its end."""
        while not self._parent.gone:
            self._doing["what"] = "in calls"
            self._stack.poll()
            self._take_in()
            for call in list(self._calls.values()):
                self._attend(call)
            for order in self._parent.take():
                self._doing["what"] = f"obeying {order['do']!r}"
                self._obey(order)

    def close(self) -> None:
        """Hang up and give everything back in the order that the library survives."""
        self._doing["what"] = "switching off"
        self._stack.endpoint.hangupAllCalls()
        self._stack.poll_for(CLOSING_SECONDS)
        for call in self._calls.values():
            call.sounds.clear()
        self._calls.clear()
        self._account.shutdown()
        del self._account
        self._stack.close()

    def _account_config(self, order: dict[str, Any]) -> Any:
        registration = order["registration"]
        if registration is None:
            return self._stack.account(f"sip:{order['user']}@{self._stack.bound}")
        config = self._stack.account(f"sip:{order['user']}@{registration['domain']}")
        config.regConfig.registrarUri = registration["registrar"]
        config.sipConfig.authCreds.append(
            pj.AuthCredInfo("digest", "*", registration["username"], 0, registration["password"])
        )
        return config

    def _take_in(self) -> None:
        while self._account.registered:
            self._parent.say("registered", status=self._account.registered.popleft())
        while self._account.incoming:
            call = self._account.incoming.popleft()
            self._calls[call.name] = call
            call.answer(_response(180))
            self._parent.say("incoming", call=call.name, at_ns=time.time_ns())

    def _attend(self, call: _Call) -> None:
        if call.media_ready and call.over_at_ns is None:
            call.media_ready = False
            self._connect(call)
        if call.answered_at_ns is not None and not call.answer_said:
            call.answer_said = True
            self._parent.say("answered", call=call.name, at_ns=call.answered_at_ns)
        while call.digits:
            self._parent.say("digit", call=call.name, digit=call.digits.popleft())
        if call.over_at_ns is not None:
            call.sounds.clear()  # the recorder writes its file's header now
            del self._calls[call.name]
            self._parent.say(
                "over",
                call=call.name,
                status=call.status,
                answered_at_ns=call.answered_at_ns,
                ended_at_ns=call.over_at_ns,
                ended_by_far_end=not call.hung_up_here,
            )

    def _connect(self, call: _Call) -> None:
        """Once per call: a re-INVITE's new media goes on where the old was (the stream keeps its port)."""
        info = call.getInfo()  # held: its lists live as long as it does
        if call.sounds or all(medium.status != pj.PJSUA_CALL_MEDIA_ACTIVE for medium in info.media):
            return
        line = call.getAudioMedia(-1)
        if call.record is not None:
            call.sounds.append(recorder(call.record))
            line.startTransmit(call.sounds[-1])
        if call.play is not None:
            call.sounds.append(player(call.play))
            call.sounds[-1].startTransmit(line)

    def _obey(self, order: dict[str, Any]) -> None:
        name = order["call"]
        if order["do"] == "call":
            call = _Call(self._account, name)
            call.play, call.record = order["play"], order["record"]
            self._calls[name] = call
            operation = pj.CallOpParam(True)
            operation.opt.audioCount, operation.opt.videoCount = 1, 0
            call.makeCall(order["target"], operation)
        elif name not in self._calls:
            return  # over meanwhile, which the parent is told
        elif order["do"] == "answer":
            self._calls[name].play, self._calls[name].record = order["play"], order["record"]
            self._calls[name].answer(_response(200))
        elif order["do"] == "decline":
            self._calls[name].hung_up_here = True
            self._calls[name].answer(_response(order["status"]))
        elif order["do"] == "press":
            self._calls[name].dialDtmf(order["digits"])
        else:
            self._calls[name].hung_up_here = True
            self._calls[name].hangup(pj.CallOpParam())


def _response(status: int) -> Any:
    response = pj.CallOpParam(True)
    response.statusCode = status
    response.opt.audioCount, response.opt.videoCount = 1, 0
    return response


def main() -> None:
    """One telephone, until it is switched off."""
    parent = Parent()
    doing = {"what": "starting"}
    with failures_reported(parent, doing):
        telephone = Set(parent, parent.first(), doing)
        telephone.run()
        telephone.close()


if __name__ == "__main__":
    main()
