"""``python -m tests.fuzz.run TARGET MESSAGES [--seed N] [--seconds S] [--corpus FOLDER]``: one process that fuzzes.

Mutations are guided by coverage of sipgate's own code (atheris, libFuzzer). It goes on after a finding: each is kept
once, by the line that raised, with the shortest input that led there. Ends after so many messages, or seconds, with one
JSON line on standard output; libFuzzer's own lines go to standard error. Exit status 1 when there are findings.

``growth_kb``: by how much resident memory grew over the second half of the messages; libFuzzer's own corpus is in it.
``objects``: by how many objects Python's heap grew meanwhile, which it is not.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # it exports nothing by mypy's rules

TARGETS = {
    "sip": ("tests.fuzz.sip", "take"),
    "sdp": ("tests.fuzz.parts", "take_sdp"),
    "multipart": ("tests.fuzz.parts", "take_multipart"),
    "metadata": ("tests.fuzz.parts", "take_metadata"),
    "rtp": ("tests.fuzz.parts", "take_rtp"),
}
_PROGRESS_SECONDS = 10.0


@dataclass
class Finding:
    """``where``: the exception and the line; ``data``: the shortest input that led there."""

    where: str
    data: bytes
    times: int = 1


@dataclass
class Run:
    """Counts, and ends the process: libFuzzer does not give control back."""

    target: str
    take: Callable[[bytes], int]
    wanted: int
    seconds: float
    messages: int = 0
    executions: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    half: tuple[int, int] | None = None

    def one(self, data: bytes) -> None:
        """One input."""
        self.executions += 1
        try:
            self.messages += self.take(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._found(error, data)
        now = time.monotonic()
        if self.half is None and self._share(now) >= 0.5:
            self.half = _size()
        if now - self.told >= _PROGRESS_SECONDS:
            self.told = now
            print(json.dumps(self.report() | {"progress": True}), flush=True)
        if self._share(now) >= 1.0:
            print(json.dumps(self.report()), flush=True)
            sys.stderr.flush()
            os._exit(1 if self.findings else 0)

    def report(self) -> dict[str, object]:
        """What has been done and found so far."""
        resident, objects = _size() if self.half is not None else (0, 0)
        before = self.half or (0, 0)
        return {
            "target": self.target,
            "messages": self.messages,
            "executions": self.executions,
            "seconds": round(time.monotonic() - self.began, 1),
            "growth_kb": (resident - before[0]) // 1000,
            "objects": objects - before[1],
            "findings": [{"where": f.where, "times": f.times, "input": f.data.hex()} for f in self.findings.values()],
        }

    def _share(self, now: float) -> float:
        return max(self.messages / self.wanted, (now - self.began) / self.seconds)

    def _found(self, error: Exception, data: bytes) -> None:
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if "/sipgate/" in f.filename or "/fuzz/" in f.filename
        ]
        last = frames[-1]
        where = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} ({last.name}): {str(error)[:120]}"
        key = f"{type(error).__name__} {last.filename}:{last.lineno}"
        known = self.findings.get(key)
        if known is None:
            self.findings[key] = Finding(where, data)
        else:
            known.times += 1
            known.data = min(known.data, data, key=len)
        self.messages += 1


def _size() -> tuple[int, int]:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(gc.get_objects())


def main() -> None:
    """Fuzz; does not return."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("messages", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    module, function = TARGETS[options.target]
    with atheris.instrument_imports(include=["sipgate"], enable_loader_override=False):
        take = getattr(importlib.import_module(module), function)
        seeds = importlib.import_module("tests.fuzz.seeds")  # here: it imports of sipgate, too
    with tempfile.TemporaryDirectory(prefix="sipgate-fuzz-") as folder:
        corpus = options.corpus or Path(folder, "corpus")
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds.of(options.target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        words = Path(folder, "dictionary")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in seeds.DICTIONARY))
        arguments = [f"-seed={options.seed}", f"-dict={words}", "-max_len=8192", "-timeout=30", "-rss_limit_mb=4096"]
        run = Run(options.target, take, options.messages, options.seconds)
        atheris.Setup([sys.argv[0], *arguments, str(corpus)], run.one)
        atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(c if c.isalnum() or c in " :;=/.-<>!&#$@+*" else f"\\x{ord(c):02X}" for c in word)


if __name__ == "__main__":
    main()
