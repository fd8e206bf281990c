"""The frame: imports go one way, the client's base install pulls no server library, the top level is agreed."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
AGREED = {"pyproject.toml", "sipgate", "capture_client", "tests", "deploy", "README.md", "LICENSE", "CHANGELOG.md"}
SERVER_ONLY = {
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "alembic",
    "amqtt",
    "typer",
    "pydantic",
    "structlog",
    "phonenumbers",
}


def _imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_the_layers_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, check=False, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", sorted((TOP / "capture_client").rglob("*.py")), ids=lambda f: f.stem)
def test_the_client_imports_neither_the_server_nor_its_libraries(file: Path) -> None:
    assert not _imported(file) & (SERVER_ONLY | {"sipgate"})


def test_the_client_imports_only_what_the_base_install_declares() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    declared = {word.partition(">")[0].partition(";")[0].strip() for word in project["dependencies"]}
    found = set().union(*(_imported(file) for file in (TOP / "capture_client").rglob("*.py")))
    outside = found - set(sys.stdlib_module_names) - {"capture_client"}
    # What only other desktops have is imported there alone, and said to be missing otherwise.
    assert outside <= declared


def test_the_top_level_is_the_agreed_one() -> None:
    listed = subprocess.run(["git", "ls-files"], check=True, cwd=TOP, capture_output=True, text=True).stdout.split("\n")
    names = {name.partition("/")[0] for name in listed if name}
    assert {name for name in names if not name.startswith(".")} <= AGREED


def test_every_module_says_what_it_is_for() -> None:
    files = [f for folder in ("sipgate", "capture_client", "deploy") for f in (TOP / folder).rglob("*.py")]
    silent = [f for f in files if f.read_text().strip() and ast.get_docstring(ast.parse(f.read_text())) is None]
    # alembic writes its revisions' docstrings; an empty __init__ says nothing and needs to say nothing
    assert silent == []
