"""Kamailio with the configuration of deploy/kamailio, and recorders that can be killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.peers.sipp_answering import free_port

DEPLOYED = Path(__file__).parents[2] / "deploy" / "kamailio"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
needs_kamailio = pytest.mark.skipif(
    shutil.which("kamailio", path=_PATH) is None or not list(Path("/usr/lib").glob("*/kamailio/modules/tls.so")),
    reason="no Kamailio: apt-get install kamailio kamailio-tls-modules",
)


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


class RecorderProcess:
    """``tests.peers.tap_process`` at a port that it keeps through a kill and a new start; ``tls`` is another, or 0."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.port, self.tls = free_port(), free_port() if certificate else 0
        self._words = [str(self.port)]
        if certificate:
            self._words += ["--tls", str(self.tls), "--certificate", str(certificate[0]), "--key", str(certificate[1])]
        self.said: list[str] = []

    @property
    def offered(self) -> list[str]:
        """The sessions that were offered to it, by a key of theirs, since its last start."""
        return [line.partition(" ")[2] for line in self.said if line.startswith("Offered ")]

    def start(self) -> None:
        """Start, and wait until it listens."""
        self.begin()
        self.until_listening()

    def begin(self) -> None:
        """Start."""
        self.said.clear()
        command = [sys.executable, "-m", "tests.peers.tap_process", *self._words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until_listening(self) -> None:
        """Wait until it listens."""
        until(lambda: "listens" in self.said, "a recorder that listens")

    def command(self, word: str) -> None:
        """One of its commands, done when this returns."""
        done = self.said.count(f"done {word}")
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        until(lambda: self.said.count(f"done {word}") > done, word)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def freeze(self) -> None:
        """It lives and does nothing; ``thaw`` ends it."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._process.send_signal(signal.SIGCONT)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.strip())


class Dispatcher:
    """Kamailio in front of ``recorders`` (URIs); it hears 127.0.0.1 alone. Its log is all that it writes."""

    def __init__(self, folder: Path, recorders: Sequence[str], defines: Mapping[str, str]) -> None:
        self.port = free_port()
        self.folder = folder
        self._run = folder / "run"
        self._run.mkdir()
        self._log = folder / "kamailio.log"
        listed = "".join(f"1 {uri} 0 0\n" for uri in recorders)
        (folder / "dispatcher.list").write_text(listed)
        (folder / "recording-clients.list").write_text("1 127.0.0.1 32 0\n")
        self._defines = {
            "SIPREC_UDP": f"udp:127.0.0.1:{self.port}",
            "SIPREC_TCP": f"tcp:127.0.0.1:{self.port}",
            "RECORDERS": f'"{folder}/dispatcher.list"',
            "RECORDING_CLIENTS": f'"{folder}/recording-clients.list"',
            **defines,
        }

    def start(self) -> None:
        """Start, and wait until it knows its recorders."""
        words = [word for name, value in self._defines.items() for word in ("-A", f"{name}={value}" if value else name)]
        command = ["kamailio", "-DD", "-E", "-f", str(DEPLOYED / "siprec-dispatcher.cfg"), "-m", "32", "-M", "8"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-Y", str(self._run), "-w", str(self.folder), *words],
                env={**os.environ, "PATH": _PATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: self._process.poll() is not None or bool(self.ask("dispatcher.list")), "Kamailio's answer")
        assert self._process.poll() is None, self._log.read_text()

    def stop(self) -> None:
        """End it and its children."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def flags(self) -> dict[int, str]:
        """The state of each recorder by its port: A active, T trying, I inactive, then P probing."""
        found = re.findall(r"URI: sip:127\.0\.0\.1:(\d+)\S*\s+FLAGS: (\w+)", self.ask("dispatcher.list"))
        return {int(port): flags for port, flags in found}

    @property
    def listed(self) -> list[str]:
        """The URI of each recorder that it knows."""
        return re.findall(r"URI: (\S+)", self.ask("dispatcher.list"))

    @property
    def log(self) -> list[str]:
        """What it wrote since it listens."""
        _, _, lines = self._log.read_text(errors="replace").partition("Aliases:")
        return [line for line in lines.splitlines() if line.strip()]

    def ask(self, command: str) -> str:
        """What kamcmd says; empty while nobody answers it."""
        words = ["kamcmd", "-s", f"unix:{self._run}/kamailio_ctl", command]
        done = subprocess.run(
            words, env={**os.environ, "PATH": _PATH}, check=False, capture_output=True, text=True, timeout=10
        )
        return done.stdout if done.returncode == 0 else ""
