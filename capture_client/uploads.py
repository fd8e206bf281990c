"""What is in the spool goes to the server, over HTTPS, each part signed with the workstation's key."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from capture_client.enrolment import Enrolment
from capture_client.errors import SpoolError
from capture_client.protocol import upload_digest
from capture_client.spool import Part, Spool

_SECONDS = 30.0
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_KEPT, _DISCARDED, _OTHER_CONTENT = 204, 410, 409
_NEVER = (400, 413)
"""The server will never take this part; that is a fault of ours, not the network's."""


class Uploader:
    """Uploads in the spool's order, for ever; a part leaves the disk once the server has it, or has discarded it."""

    def __init__(self, enrolment: Enrolment, spool: Spool, note: Callable[[str], None]) -> None:
        self._enrolment, self._spool, self._note = enrolment, spool, note
        self._key: Ed25519PrivateKey = enrolment.own_key()
        self._changed = asyncio.Event()

    def spool_changed(self) -> None:
        """There may be more to upload. Call it in the event loop."""
        self._changed.set()

    async def run(self) -> None:
        """Cancel it to end."""
        base, context = f"{self._enrolment.server}/workstation/v1/films/", self._enrolment.upload_context()
        async with httpx.AsyncClient(base_url=base, verify=context, timeout=_SECONDS, trust_env=False) as client:
            failures = 0
            while True:
                self._changed.clear()
                part = await asyncio.to_thread(self._spool.next_part)
                if part is None:
                    await self._changed.wait()
                elif await self._sent(client, part):
                    failures = 0
                else:
                    await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                    failures += 1

    async def _sent(self, client: httpx.AsyncClient, part: Part) -> bool:
        """True when there is nothing more to do about this part; False: try again later."""
        try:
            return await self._upload(client, part)
        except httpx.HTTPError:
            return False
        except SpoolError as error:
            self._note(str(error))
            return False

    async def _upload(self, client: httpx.AsyncClient, part: Part) -> bool:
        try:
            body = await asyncio.to_thread(part.path.read_bytes)
        except FileNotFoundError:
            return True  # erased meanwhile
        digest = upload_digest(self._enrolment.workstation, part.recording, part.take, part.name, body)
        headers = {
            "Sipgate-Workstation": self._enrolment.workstation,
            "Sipgate-Signature": base64.b64encode(self._key.sign(digest)).decode(),
        }
        response = await client.put(f"{part.recording}/{part.take}/{part.name}", content=body, headers=headers)
        if response.status_code == _DISCARDED:
            await asyncio.to_thread(self._spool.erase, part.recording)
        elif response.status_code in (_KEPT, _OTHER_CONTENT, *_NEVER):
            await asyncio.to_thread(self._spool.acknowledged, part)
        if response.status_code not in (_KEPT, _DISCARDED):
            self._note(f"upload: the server answered {response.status_code}")
        return response.status_code in (_KEPT, _DISCARDED, _OTHER_CONTENT, *_NEVER)
