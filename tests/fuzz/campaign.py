"""``python -m tests.fuzz.campaign [--messages N] [--processes P] [--corpus FOLDER]``: many messages, over every core.

Each target gets its share, in runs with seeds of their own (``run``) that build on one corpus. Tells every ten seconds
how far it is; in the end, by target: messages, executions, coverage (edges of sipgate's code), growth, findings.
Exit status 1 when anything was found, or anything grows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SHARES: Final = {"sip": 0.5, "sdp": 0.15, "multipart": 0.1, "metadata": 0.1, "rtp": 0.15}
A_RUN: Final = 250_000
MOST_OBJECTS: Final = 1000
"""Of Python's heap, over half a run. Resident memory is told, not judged: libFuzzer's own tables are most of it (RTP:
100 MB in 75,000 messages, where the same kind of messages without libFuzzer, 240,000 of them, leave 0.3 MB)."""
_COVERAGE = re.compile(rb"cov: (\d+) ft: (\d+)")


@dataclass
class Total:
    """Of one target. ``findings``: by the line that raised."""

    wanted: int
    messages: int = 0
    executions: int = 0
    coverage: int = 0
    features: int = 0
    objects: int = 0
    growth_kb: int = 0
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def grows(self) -> bool:
        """Whether a run left more behind in its second half than a run may."""
        return self.objects > MOST_OBJECTS


class Campaign:
    """All runs, so many at once."""

    def __init__(self, messages: int, corpus: Path) -> None:
        self.totals = {target: Total(int(messages * share)) for target, share in SHARES.items()}
        self._corpus = corpus
        self._under_way: dict[tuple[str, int], int] = {}
        self._jobs: deque[tuple[str, int, int]] = deque()
        for seed in range(1, messages // A_RUN + 2):
            for target, total in self.totals.items():
                if (size := min(A_RUN, total.wanted - (seed - 1) * A_RUN)) > 0:
                    self._jobs.append((target, seed, size))

    async def work(self) -> None:
        """Runs one after the other, until there are none."""
        while self._jobs:
            target, seed, size = self._jobs.popleft()
            await self._run(target, seed, size)

    async def _run(self, target: str, seed: int, size: int) -> None:
        arguments = [target, str(size), "--seed", str(seed), "--corpus", str(self._corpus / target)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.fuzz.run", *arguments, stdout=PIPE, stderr=PIPE, limit=1 << 24
        )
        assert process.stdout is not None
        assert process.stderr is not None
        said = asyncio.create_task(self._listen(target, process.stderr))
        report: dict[str, Any] = {}
        async for line in process.stdout:
            report = json.loads(line)
            self._under_way[target, seed] = report["messages"]
            self._keep(target, report["findings"])
        await process.wait()
        last = await said
        self._under_way.pop((target, seed), None)
        total = self.totals[target]
        if not report or report.get("progress"):
            total.findings[f"the process died: seed {seed}"] = {"times": 1, "input": last}
            return
        total.messages += report["messages"]
        total.executions += report["executions"]
        total.objects = max(total.objects, report["objects"])
        total.growth_kb = max(total.growth_kb, report["growth_kb"])

    def _keep(self, target: str, findings: list[dict[str, Any]]) -> None:
        known = self.totals[target].findings
        for finding in findings:
            if finding["where"] not in known:
                print(f"found: {target}: {finding['where']}: {finding['input']}", flush=True)
            known[finding["where"]] = finding

    async def _listen(self, target: str, errors: asyncio.StreamReader) -> str:
        last: deque[bytes] = deque(maxlen=12)
        async for line in errors:
            last.append(line)
            if (found := _COVERAGE.search(line)) is not None:
                total = self.totals[target]
                total.coverage = max(total.coverage, int(found[1]))
                total.features = max(total.features, int(found[2]))
        return b"".join(last).decode("utf-8", "replace")

    async def tell(self) -> None:
        """Progress, for ever."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(10.0)
            done = self.messages + sum(self._under_way.values())
            wanted = sum(total.wanted for total in self.totals.values())
            found = sum(len(total.findings) for total in self.totals.values())
            rate = done / (time.monotonic() - began)
            print(f"fuzzing: {done:,} of {wanted:,} messages, {rate:,.0f} a second, {found} findings", flush=True)

    @property
    def messages(self) -> int:
        """Of all runs that are over."""
        return sum(total.messages for total in self.totals.values())


async def _main(messages: int, processes: int, corpus: Path) -> int:
    campaign = Campaign(messages, corpus)
    telling = asyncio.create_task(campaign.tell())
    await asyncio.gather(*(campaign.work() for _ in range(processes)))
    telling.cancel()
    for target, total in campaign.totals.items():
        print(
            f"{target:10} {total.messages:>10,} messages, {total.executions:>10,} executions, "
            f"coverage {total.coverage} edges ({total.features} features), "
            f"grew by {total.objects} objects, {total.growth_kb} kB with libFuzzer; {len(total.findings)} findings"
        )
        for where, finding in total.findings.items():
            print(f"    {where} ({finding['times']} times): {finding['input']}")
    bad = any(total.findings or total.grows() for total in campaign.totals.values())
    print(f"{campaign.messages:,} messages in all: {'see above' if bad else 'only documented errors, no growth'}")
    return 1 if bad else 0


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sipgate-fuzz-") as folder:
        sys.exit(asyncio.run(_main(options.messages, options.processes, options.corpus or Path(folder))))


if __name__ == "__main__":
    main()
