"""Uploads and enrolment, over a real vault; once over real HTTPS."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateSigningRequestBuilder, Name
from fastapi import FastAPI

from capture_client import protocol
from capture_client.protocol import FilmPacket, SegmentSealer
from sipgate.errors import ErasedError, StoreError, WorkstationError
from sipgate.vault import files
from sipgate.vault.keys import RecordingKeys
from sipgate.vault.vault import Vault
from sipgate.workstations import films
from sipgate.workstations.uploads import WorkstationParts, workstation_routes
from tests.peers.workstation import Workstation, signing_request
from tests.workstations.conftest import NAMES, Site

TAKE = "cd" * 16
SECRET = "0123456789abcdef"


@dataclass
class Server:
    """The routes, and what they have told."""

    site: Site
    vault: Vault
    desk: Workstation
    recording: str = field(default_factory=lambda: secrets.token_hex(16))
    filmed: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    certificates: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    enrolled: list[str] = field(default_factory=list)
    now_ns: int = 1_800_000_000_000_000_000
    keys: RecordingKeys = field(init=False)
    app: FastAPI = field(init=False)

    def __post_init__(self) -> None:
        self.keys = self.vault.create(self.recording)
        self.filmed[self.recording] = self.desk.name
        self.app = FastAPI()
        self.app.include_router(workstation_routes(self.parts()))

    def parts(self) -> WorkstationParts:
        return WorkstationParts(
            authority=self.site.authority,
            store=self.vault,
            filmed_by=self.filmed.get,
            workstation_key=self.site.registered.get,
            redeem=self.redeem,
            set_certificate=self.set_certificate,
            now_ns=lambda: self.now_ns,
            mqtt_host="broker.example",
            mqtt_port=8883,
            on_part=self.ended.append,
            on_enrolled=self.enrolled.append,
        )

    def redeem(self, secret: str, now_ns: int) -> str:
        assert now_ns == self.now_ns
        if secret not in self.codes:
            raise WorkstationError("wrong, used or expired code")
        return self.codes.pop(secret)

    def set_certificate(self, name: str, key: bytes, certificate: str) -> None:
        self.certificates[name] = (key, certificate)

    def segment(self, index: int = 0, size: int = 100, recording: str | None = None) -> bytes:
        sealer = SegmentSealer(recording or self.recording, TAKE, self.keys.film_public)
        return sealer.seal(index, [FilmPacket(True, 7, 640, 480, bytes(size))])

    @property
    def film(self) -> Path:
        return self.vault.folder(self.recording) / "film"


@pytest.fixture
def server(site: Site, tmp_path: Path) -> Server:
    return Server(site, Vault(tmp_path / "data", tmp_path / "keys"), site.desk("desk-1"))


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="https://sipgate") as found:
        yield found


async def put(
    client: httpx.AsyncClient,
    server: Server,
    body: bytes,
    part: str = "0",
    *,
    desk: Workstation | None = None,
    recording: str | None = None,
    take: str = TAKE,
    signed: bytes | None = None,
) -> int:
    """The status of one upload."""
    recording = recording or server.recording
    headers = (desk or server.desk).upload_headers(recording, take, part, body if signed is None else signed)
    answer = await client.put(f"/workstation/v1/films/{recording}/{take}/{part}", content=body, headers=headers)
    return answer.status_code


async def test_a_segment_is_kept_as_it_came_and_opens_with_the_recordings_key(
    client: httpx.AsyncClient, server: Server
) -> None:
    sealed = server.segment(3)
    assert await put(client, server, sealed, "3") == 204
    kept = (server.film / TAKE / "000003.seg").read_bytes()
    assert kept == sealed
    (packet,) = protocol.open_segment(kept, X25519PrivateKey.from_private_bytes(server.keys.film_private))
    assert packet.pts_ns == 7


async def test_what_is_acknowledged_is_on_the_disk_with_its_folders(
    client: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = files.sync_folder

    def watched(path: Path) -> None:
        synced.append(path)
        sync(path)

    monkeypatch.setattr(files, "sync_folder", watched)
    assert await put(client, server, server.segment()) == 204
    assert synced == [server.film.parent, server.film, server.film / TAKE]
    assert [p.name for p in (server.film / TAKE).iterdir()] == ["000000.seg"]


async def test_the_same_again_is_the_same_and_other_content_is_refused(
    client: httpx.AsyncClient, server: Server
) -> None:
    first, other = server.segment(), server.segment()
    assert [await put(client, server, body) for body in (first, first, other, first)] == [204, 204, 409, 204]
    assert (server.film / TAKE / "000000.seg").read_bytes() == first


async def test_of_two_at_once_one_wins(client: httpx.AsyncClient, server: Server) -> None:
    bodies = [server.segment() for _ in range(6)]
    statuses = await asyncio.gather(*(put(client, server, body) for body in bodies))
    assert sorted(statuses) == [204, 409, 409, 409, 409, 409]
    assert (server.film / TAKE / "000000.seg").read_bytes() == bodies[statuses.index(204)]


async def test_the_end_is_kept_and_told(client: httpx.AsyncClient, server: Server) -> None:
    await put(client, server, server.segment())
    assert server.ended == []
    assert await put(client, server, b'{"segments": 1}', "end") == 204
    assert json.loads((server.film / TAKE / "end.json").read_text()) == {"segments": 1}
    assert server.ended == [server.recording]
    assert await put(client, server, b'{ "segments": 1 }', "end") == 204
    assert await put(client, server, b'{"segments": 2}', "end") == 409


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"segments": true}', b'{"segments": -1}', b'{"segments": 1e9}'])
async def test_an_end_that_says_nothing_is_refused(client: httpx.AsyncClient, server: Server, body: bytes) -> None:
    assert await put(client, server, body, "end") == 400
    assert server.ended == []


async def test_only_the_workstations_own_signature_over_name_and_content_counts(
    client: httpx.AsyncClient, server: Server
) -> None:
    sealed = server.segment()
    assert await put(client, server, sealed, desk=server.site.desk("desk-9", registered=False)) == 401
    assert await put(client, server, sealed, signed=b"something else") == 401
    other = server.desk.upload_headers(server.recording, TAKE, "1", sealed)
    url = f"/workstation/v1/films/{server.recording}/{TAKE}/0"
    assert (await client.put(url, content=sealed, headers=other)).status_code == 401
    for signature in ("", "!", base64.b64encode(bytes(64)).decode()):
        headers = {"Sipgate-Workstation": "desk-1", "Sipgate-Signature": signature}
        assert (await client.put(url, content=sealed, headers=headers)).status_code == 401
    assert not server.film.exists()


async def test_a_workstation_uploads_only_what_was_started_on_it(client: httpx.AsyncClient, server: Server) -> None:
    other = server.site.desk("desk-2")
    assert await put(client, server, server.segment(), desk=other) == 410
    unknown = "ef" * 16
    assert await put(client, server, server.segment(recording=unknown), recording=unknown) == 410
    assert not server.film.exists()


async def test_for_an_erased_recording_nothing_is_kept_and_nothing_made_again(
    client: httpx.AsyncClient, server: Server
) -> None:
    await put(client, server, server.segment())
    folder = server.vault.folder(server.recording)
    sealed = server.segment(1)
    server.vault.destroy(server.recording)
    assert await put(client, server, sealed, "1") == 410
    assert await put(client, server, b'{"segments": 1}', "end") == 410
    assert not folder.exists()


async def test_what_is_erased_while_it_is_written_does_not_stay(server: Server) -> None:
    class ErasedInBetween:
        asked = 0

        def folder(self, recording: str) -> Path:
            self.asked += 1
            if self.asked == 2:
                server.vault._wrapped.joinpath(f"{recording}.key").unlink()  # as far as destroy has come
            return server.vault.folder(recording)

    folder = server.vault.folder(server.recording)
    with pytest.raises(ErasedError):
        films.Films(ErasedInBetween()).keep_segment(server.recording, TAKE, 0, b"sealed")
    assert not folder.exists()


async def test_a_body_that_is_too_long_is_not_read_to_its_end(client: httpx.AsyncClient, server: Server) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024 * 1024
            yield bytes(1024 * 1024)

    headers = server.desk.upload_headers(server.recording, TAKE, "0", b"")
    url = f"/workstation/v1/films/{server.recording}/{TAKE}/0"
    assert (await client.put(url, content=endless(), headers=headers)).status_code == 413
    assert sent <= protocol.MAXIMUM_SEGMENT_BYTES + 2 * 1024 * 1024


@pytest.mark.parametrize("kind", ["no segment", "another index", "another recording"])
async def test_a_segment_that_is_not_what_its_name_says_is_refused(
    client: httpx.AsyncClient, server: Server, kind: str
) -> None:
    bodies = {"no segment": b"x" * 200, "another index": server.segment(1), "another recording": None}
    body = bodies[kind] or server.segment(recording="12" * 16)
    assert await put(client, server, body) == 400
    assert not server.film.exists()


@pytest.mark.parametrize("path", ["..%2f..%2fx/0", f"{TAKE}/../0", f"{TAKE.upper()}/0", f"{TAKE}/00", f"{TAKE}/-1"])
async def test_no_name_leads_elsewhere(client: httpx.AsyncClient, server: Server, path: str) -> None:
    headers = server.desk.upload_headers(server.recording, TAKE, "0", b"")
    answer = await client.put(f"/workstation/v1/films/{server.recording}/{path}", content=b"", headers=headers)
    assert answer.status_code in {404, 405, 422}


async def test_one_recording_cannot_have_takes_without_end(client: httpx.AsyncClient, server: Server) -> None:
    server.film.mkdir()
    for number in range(films.MAXIMUM_TAKES):
        (server.film / f"{number:032x}").mkdir()
    assert await put(client, server, server.segment()) == 409


def test_films_do_not_take_the_last_room_on_the_disk(server: Server) -> None:
    with pytest.raises(StoreError, match="are free"):
        films.Films(server.vault, reserve_bytes=2**60).keep_segment(server.recording, TAKE, 0, b"sealed")
    assert not server.film.exists()


async def test_when_the_register_or_the_disk_fails_the_client_is_to_try_again(server: Server) -> None:
    def unavailable(_: str) -> str | None:
        raise StoreError("gone")

    server.filmed.clear()
    app = FastAPI()
    parts = server.parts()
    app.include_router(workstation_routes(WorkstationParts(**{**vars(parts), "filmed_by": unavailable})))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://sipgate") as client:
        assert await put(client, server, server.segment()) == 503


# --- enrolment ----------------------------------------------------------------------------------------------------


def request_for(key: Ed25519PrivateKey, server: Server, secret: str = SECRET) -> dict[str, str]:
    return {"code": f"{secret}-{server.site.authority.fingerprint}", "csr": signing_request(key, "whatever")}


async def test_a_code_is_good_for_one_certificate_that_opens_the_brokers_door(
    client: httpx.AsyncClient, server: Server
) -> None:
    server.codes[SECRET] = "desk-5"
    key = Ed25519PrivateKey.generate()
    answer = await client.post("/workstation/v1/enrol", json=request_for(key, server))
    assert answer.status_code == 200
    got = answer.json()
    assert server.certificates == {"desk-5": (key.public_key().public_bytes_raw(), got["certificate"])}
    assert server.enrolled == ["desk-5"]
    public = server.site.authority.command_key.public_key()
    assert got == {
        "workstation": "desk-5",
        "certificate": got["certificate"],
        "command_key": base64.b64encode(public.public_bytes_raw()).decode(),
        "mqtt_host": "broker.example",
        "mqtt_port": 8883,
        "mqtt_version": "3.1.1",
    }
    desk = Workstation("desk-5", server.site.folder, server.site.authority.ca_pem, key, got["certificate"], public)
    assert desk.ssl_context()
    assert (await client.post("/workstation/v1/enrol", json=request_for(key, server))).status_code == 401


async def test_a_request_that_cannot_be_signed_does_not_use_the_code_up(
    client: httpx.AsyncClient, server: Server
) -> None:
    server.codes[SECRET] = "desk-5"
    wrong_key = ec.generate_private_key(ec.SECP256R1())
    csr = CertificateSigningRequestBuilder().subject_name(Name([])).sign(wrong_key, hashes.SHA256())
    asked = request_for(Ed25519PrivateKey.generate(), server)
    wrong = csr.public_bytes(Encoding.PEM).decode()
    bodies: list[object] = [{**asked, "csr": wrong}, {**asked, "csr": "x"}, {"code": "x"}, []]
    for body in bodies:
        assert (await client.post("/workstation/v1/enrol", json=body)).status_code == 422
    elsewhere = {**asked, "code": f"{SECRET}-{'0' * 32}"}
    assert (await client.post("/workstation/v1/enrol", json=elsewhere)).status_code == 401
    assert (await client.post("/workstation/v1/enrol", content=bytes(100_000))).status_code == 413
    assert server.codes == {SECRET: "desk-5"}


async def test_guessing_codes_is_slowed_down_for_its_address(client: httpx.AsyncClient, server: Server) -> None:
    asked = request_for(Ed25519PrivateKey.generate(), server, "guess")
    statuses = [(await client.post("/workstation/v1/enrol", json=asked)).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    server.codes[SECRET] = "desk-5"
    honest = request_for(Ed25519PrivateKey.generate(), server)
    assert (await client.post("/workstation/v1/enrol", json=honest)).status_code == 429
    server.now_ns += 61_000_000_000
    assert (await client.post("/workstation/v1/enrol", json=honest)).status_code == 200


@pytest.mark.peer
def test_over_https_the_ca_is_fetched_and_then_trusted_alone(server: Server) -> None:
    with serving(server) as port:
        unverified = httpx.get(f"https://localhost:{port}/workstation/v1/ca", verify=False).text  # noqa: S501 - as in enrolment
        assert unverified == server.site.authority.ca_pem
        sealed = server.segment()
        for host in NAMES:
            answer = httpx.put(
                f"https://{host}:{port}/workstation/v1/films/{server.recording}/{TAKE}/0",
                content=sealed,
                headers=server.desk.upload_headers(server.recording, TAKE, "0", sealed),
                verify=server.desk.ssl_context(shows_certificate=False),
            )
            assert answer.status_code == 204


@contextmanager
def serving(server: Server) -> Iterator[int]:
    """The routes behind uvicorn with the authority's certificate."""
    certificate, key = server.site.authority.server_certificate(NAMES)
    config = uvicorn.Config(server.app, ssl_certfile=certificate, ssl_keyfile=key, log_config=None, lifespan="off")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join(10)
