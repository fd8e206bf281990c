"""A full disk: at the start of a call the peer is sent elsewhere; later on it is said why nothing could be finished."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from deploy.demo.programs import wait_until
from sipgate.phones.recording_client import OngoingCall
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue
from tests.service.company import Company, recording_company

MIB = 1 << 20
SIZE = 600 * MIB

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own can be mounted by root only"),
]


class SmallDisk:
    """A tmpfs at the store's data."""

    def __init__(self, path: Path) -> None:
        self._filler = path / "filler"
        self._path = path

    def fill(self) -> None:
        """Leave nothing."""
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            found = os.statvfs(self._path)
            os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - MIB, 1))
            file.seek(0, os.SEEK_END)
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallDisk, Company]]:
    folder = tmp_path_factory.mktemp("small")
    data = folder / "data"
    data.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(data)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with ExitStack() as stack:
            yield SmallDisk(data), recording_company(folder, stack)
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)


def test_at_the_start_of_a_call_the_peer_is_sent_elsewhere_and_health_says_why(
    disk: tuple[SmallDisk, Company],
) -> None:
    small, company = disk
    before = company.kept()
    small.fill()
    try:
        answer = company.offer()
        assert answer.status == 503
        wait_until(lambda: company.page("readyz").status_code == 503, "red readiness", 5.0)
        (reason,) = company.page("readyz").json()["reasons"]
        assert "make room" in reason
        assert company.offer().status == 503
        assert company.kept() == before
        _nobody_signs_in_and_it_says_why(company)
    finally:
        small.make_room()
    wait_until(lambda: company.page("readyz").is_success, "readiness", 5.0)
    assert company.offer().status == 200
    company.until_idle()


def _nobody_signs_in_and_it_says_why(company: Company) -> None:
    trust = ssl.create_default_context(cafile=str(company.ca))
    secret = {"login": "dpo", "password": company.accounts["dpo"].password}
    with httpx.Client(base_url=company.url, verify=trust, trust_env=False) as stranger:
        answer = stranger.post("api/v1/sign-in", json=secret)
    assert answer.status_code == 503
    assert answer.json() == {"detail": "the register cannot be read or written: is its disk full?"}


@needs_pjsua2
def test_during_a_call_what_was_recorded_so_far_is_kept_as_soon_as_there_is_room(
    disk: tuple[SmallDisk, Company], long_spoken: Dialogue
) -> None:
    small, company = disk
    before, _ = company.kept(), company.visit("admin")
    try:
        with OngoingCall(company.call(long_spoken)) as ongoing:
            (recording,) = company.kept() - before
            sound = company.folder / "data" / "media" / recording / "audio.sealed"
            wait_until(lambda: sound.stat().st_size > 40_000, "sound on the disk", 15.0)
            small.fill()
            log = company.logs / "sipgate.log"
            wait_until(lambda: "cannot be written" in log.read_text(), "the end of the recording", 10.0)
            report = ongoing.hang_up()
        assert not report.hung_up_by_recorder
        wait_until(lambda: not company.health().get("recordings", (True, ""))[0], "health", 15.0)
        assert company.ledger() == {recording}
    finally:
        small.make_room()
    assert company.server is not None
    company.server.stop()
    company.serve()
    row = company.new_recording(before)
    assert row["recording"] == recording
    assert row["seconds"] > 1
    company.until_idle()
    company.verify()
