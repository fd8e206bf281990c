"""What ``./deploy/check`` runs, in order, with what it is doing on the screen. Ends with the first step that fails.

The output of a step is shown when it fails; pytest's closing lines are shown always, as they say how much was run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

TOP = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Step:
    """One command; ``closing`` is how many of its last lines are worth showing when it passes."""

    name: str
    command: tuple[str, ...]
    closing: int = 0
    shown: bool = False
    """It takes so long that what it says is shown as it says it."""


def steps(*, long: bool) -> list[Step]:
    """The steps of a plain or a long check."""

    def tool(name: str, *words: str) -> tuple[str, ...]:
        return (str(BIN / name), *words)

    pytest = tool("pytest", "-q", "-p", "no:cacheprovider")
    found = [
        Step("ruff: lint", tool("ruff", "check", ".")),
        Step("ruff: format", tool("ruff", "format", "--check", ".")),
        Step("mypy --strict, source and tests", tool("mypy")),
        Step("import-linter: the layers", tool("lint-imports", "--no-cache")),
        Step(
            "core: its own tests cover every branch",
            (*pytest, "tests/core", "--cov=sipgate.core", "--cov-branch", "--cov-fail-under=100", "-n", "2"),
            12,
        ),
        Step("tests, with real peers", (*pytest, "--ignore=tests/core", "--ignore=tests/bench", "-m", "not long"), 4),
        Step("bench: a bounded sample", (*pytest, "-s", "tests/bench", "-m", "not long"), 20),
    ]
    if long:
        found.append(Step("what takes longer", (*pytest, "-s", "-m", "long"), 40))
        fuzzing = (sys.executable, "-m", "tests.fuzz.campaign", "--messages", "10000000")
        found.append(Step("fuzzing: ten million messages, over every core", fuzzing, shown=True))
    return found


def main() -> int:
    """Run the steps; the exit status of the first that fails, or 0."""
    parser = argparse.ArgumentParser(prog="./deploy/check")
    parser.add_argument("--long", action="store_true", help="also what takes longer")
    options = parser.parse_args()
    screen = Console(stderr=False, highlight=False)
    began = time.monotonic()
    for step in steps(long=options.long):
        status = _run(step, screen)
        if status:
            return status
    screen.print(f"[green]all of it passes[/] in {time.monotonic() - began:.0f} s")
    return 0


def _run(step: Step, screen: Console) -> int:
    began = time.monotonic()
    if step.shown or not screen.is_terminal:
        screen.print(f"… {step.name}")
    output = None if step.shown else subprocess.PIPE
    with nullcontext() if step.shown else screen.status(f"{step.name} …"):
        done = subprocess.run(
            step.command, check=False, cwd=TOP, text=True, stdout=output, stderr=subprocess.STDOUT, env=_environment()
        )
    took = f"{time.monotonic() - began:.1f} s"
    lines = (done.stdout or "").rstrip().splitlines()
    if done.returncode:
        for line in lines[-400:]:
            screen.out(line)
        screen.print(f"[red]failed:[/] {step.name} ({took}); run it alone: {' '.join(step.command)}", soft_wrap=True)
        return done.returncode
    screen.print(f"[green]ok[/]   {step.name} ({took})")
    for line in lines[len(lines) - step.closing :]:
        screen.out(line)
    return 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHONWARNINGS": ""}


if __name__ == "__main__":
    sys.exit(main())
