"""Work that waits on the disk, in threads: what concerns one recording in order, recordings beside each other.

Every call makes some fsyncs as it begins and as it ends, a few milliseconds each. One after the other they would bound
how many calls a second can begin; beside each other they share the file system's commits (``vault.files``).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

LANES = 8
_OPENING = 4


class Lanes:
    """Threads, one for each lane, made when they are needed.

    ``opening``: for what a client waits for, its ports. Nothing was ever asked of such a recording before, nor is until
    that is done, so it need not queue behind the ends of other calls.
    """

    def __init__(self) -> None:
        self.opening = ThreadPoolExecutor(_OPENING, thread_name_prefix="sipgate-opening")
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=f"sipgate-disk-{lane}") for lane in range(LANES)]

    def of(self, recording: str) -> ThreadPoolExecutor:
        """The lane of a recording, always the same. A recording's name is random, hexadecimal."""
        return self._threads[int(recording[:8], 16) % LANES]

    def stop(self) -> None:
        """Wait until all that was given is done."""
        for thread in (self.opening, *self._threads):
            thread.shutdown(wait=True)
