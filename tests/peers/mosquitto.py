"""A real mosquitto with exactly the files of deploy/mosquitto: only port, paths and (as root) user are filled in."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path

from sipgate.errors import PeerError
from sipgate.workstations.pki import Authority

DEPLOYED = Path(__file__).parents[2] / "deploy" / "mosquitto"
INSTALLED = "/etc/mosquitto/sipgate"
_START_SECONDS = 10.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Mosquitto:
    """One broker process, with a server certificate of the authority for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path, authority: Authority, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = folder / "mosquitto"
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir()
        certificate, key = authority.server_certificate(("localhost", "127.0.0.1"), "broker")
        for source, name in ((authority.ca_path, "ca.crt"), (certificate, "broker.crt"), (key, "broker.key")):
            shutil.copy(source, self.folder / name)
        shutil.copy(DEPLOYED / "aclfile", self.folder / "aclfile")
        text = (DEPLOYED / "mosquitto.conf").read_text()
        if "listener 8883\n" not in text or INSTALLED not in text:
            raise PeerError("deploy/mosquitto/mosquitto.conf: no listener 8883, or other paths than its README's")
        text = text.replace("listener 8883\n", f"listener {self.port} 127.0.0.1\n").replace(INSTALLED, str(self.folder))
        if os.geteuid() == 0:
            text = "user root\n" + text  # else it drops to a user that cannot read pytest's folders
        self._configuration = self.folder / "mosquitto.conf"
        self._configuration.write_text(text)

    @property
    def log(self) -> str:
        """All that it has written."""
        return (self.folder / "log").read_text()

    async def start(self) -> None:
        """Start the process and wait until it listens; PeerError when it does not."""
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", self._configuration], stdout=log, stderr=log)
        async with asyncio.timeout(_START_SECONDS):
            while not await self._listens():
                if self._process.poll() is not None:
                    raise PeerError(f"mosquitto ended with status {self._process.returncode}: {self.log}")
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Kill it, as a power cut would. Idempotent."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
