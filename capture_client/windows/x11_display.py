"""An X connection with the extensions that filming needs, and small questions to the server. One thread at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import xcffib
import xcffib.composite
import xcffib.damage
import xcffib.res
import xcffib.shm
import xcffib.xfixes
import xcffib.xproto

from capture_client.errors import DesktopError

_EXTENSIONS = ("Composite", "DAMAGE", "XFIXES", "MIT-SHM", "X-Resource")
_NAMES = ("WM_STATE", "WM_CLASS", "WM_NAME", "_NET_WM_NAME", "WM_TRANSIENT_FOR")
"""Asked for once, beforehand: each would cost a film's first picture a round trip."""
_ANY = 0
_xcffib: Any = xcffib  # it has no annotations


class Display:
    """A connection to one X server. Every method raises DesktopError once the connection is lost."""

    def __init__(self, name: str) -> None:
        try:
            self.connection: Any = _xcffib.connect(display=name)
        except xcffib.XcffibException as error:
            raise DesktopError(f"display {name} cannot be opened") from error
        self.core: Any = self.connection.core
        # Asking a server for an extension that it lacks ends the connection, so look first.
        present = [self.core.QueryExtension(len(e), e) for e in _EXTENSIONS]
        missing = [e for e, cookie in zip(_EXTENSIONS, present, strict=True) if not cookie.reply().present]
        if missing:
            self.close()
            raise DesktopError(f"display {name} lacks {', '.join(missing)}: one window alone cannot be read")
        self.composite: Any = self.connection(xcffib.composite.key)
        self.damage: Any = self.connection(xcffib.damage.key)
        self.fixes: Any = self.connection(xcffib.xfixes.key)
        self.shm: Any = self.connection(xcffib.shm.key)
        self.res: Any = self.connection(xcffib.res.key)
        versions = (
            self.composite.QueryVersion(0, 4),
            self.damage.QueryVersion(1, 1),
            self.fixes.QueryVersion(4, 0),
            self.res.QueryVersion(1, 2),
        )
        for cookie in versions:
            cookie.reply()
        self._socket = int(self.connection.get_file_descriptor())
        setup = self.connection.get_setup()
        self.screen: Any = setup.roots[self.connection.pref_screen]
        self.root: int = self.screen.root
        self._client_mask: int = ~setup.resource_id_mask
        asked = [self.core.InternAtom(False, len(name), name) for name in _NAMES]
        self._atoms: dict[str, int] = {n: cookie.reply().atom for n, cookie in zip(_NAMES, asked, strict=True)}
        if setup.image_byte_order != 0:
            self.close()
            raise DesktopError(f"display {name} is big-endian: not supported")

    def close(self) -> None:
        """Everything that was asked of the server ends with the connection."""
        self.connection.disconnect()

    def fileno(self) -> int:
        """The socket; still its number once the connection is lost."""
        return self._socket

    def new_id(self) -> int:
        """A fresh resource id."""
        return int(self.connection.generate_id())

    def atom(self, name: str) -> int:
        """The server's number for a name."""
        if name not in self._atoms:
            reply = self.reply(self.core.InternAtom(False, len(name), name))
            self._atoms[name] = reply.atom if reply is not None else 0
        return self._atoms[name]

    def reply(self, cookie: Any) -> Any:
        """The reply, or None where the server answered with an error (the window went away, mostly)."""
        try:
            return cookie.reply()
        except xcffib.ConnectionException as error:
            raise DesktopError("the X server is gone") from error
        except xcffib.XcffibException:
            return None

    def done(self, cookie: Any) -> bool:
        """Whether a checked request without a reply succeeded."""
        try:
            cookie.check()
        except xcffib.ConnectionException as error:
            raise DesktopError("the X server is gone") from error
        except xcffib.XcffibException:
            return False
        return True

    def replies(self, cookies: Iterable[Any]) -> list[Any]:
        """Of requests that were all sent before the first reply is awaited."""
        return [self.reply(cookie) for cookie in list(cookies)]

    def events(self) -> Iterator[Any]:
        """What has arrived. Errors of unchecked requests turn up here too, and are passed over: windows go away."""
        while True:
            try:
                event = self.connection.poll_for_event()
            except xcffib.ConnectionException as error:
                raise DesktopError("the X server is gone") from error
            except xcffib.XcffibException:
                continue
            if event is None:
                return
            yield event

    def flush(self) -> None:
        """Send what was asked."""
        try:
            self.connection.flush()
        except xcffib.XcffibException as error:
            raise DesktopError("the X server is gone") from error

    def property_of(self, window: int, name: str, size: int = 256) -> Any:
        """Cookie for a property's value; read it with ``text`` or ``numbers``."""
        return self.core.GetProperty(False, window, self.atom(name), _ANY, 0, size)

    def text(self, cookie: Any) -> str:
        """A property as text: UTF-8, else Latin-1; empty where there is none."""
        reply = self.reply(cookie)
        raw = b"" if reply is None or reply.format != 8 else bytes(reply.value.buf())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def numbers(self, cookie: Any) -> list[int]:
        """A property as 32-bit numbers."""
        reply = self.reply(cookie)
        return [] if reply is None or reply.format != 32 else [int(n) for n in reply.value.to_atoms()]

    def process(self, window: int) -> Any:
        """Cookie for the process that made a window, as the X server knows it; read it with ``pid``."""
        spec = _xcffib.res.ClientIdSpec.synthetic(window & self._client_mask, xcffib.res.ClientIdMask.LocalClientPID)
        return self.res.QueryClientIds(1, [spec])

    def pid(self, cookie: Any) -> int | None:
        """None for a client that is gone or not of this machine."""
        reply = self.reply(cookie)
        if reply is None or not reply.num_ids or not reply.ids[0].length:
            return None
        return int(reply.ids[0].value[0])
