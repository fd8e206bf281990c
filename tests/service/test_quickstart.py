"""The first command of the README, as a newcomer runs it: twice, from any folder, its one document looked at."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.peers.recording_client import needs_pjsua2
from tests.service.filmed import decode

TOP = Path(__file__).resolve().parents[2]
RECORDED = {
    *("recording", "answered_at", "hung_up_at", "first_frame_at", "last_frame_at", "frames", "audio_seconds", "export")
}

pytestmark = [pytest.mark.peer, needs_pjsua2, pytest.mark.timeout(400)]


def _once(folder: Path) -> dict[str, Any]:
    """Standard output of ``--once``, which must be one JSON document and nothing else."""
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [str(TOP / "deploy" / "quickstart"), "--once"],
        check=False, capture_output=True, text=True, cwd=folder, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("run", ["the first time", "again"])
def test_it_shows_a_call_that_is_recorded_and_one_that_leaves_nothing(run: str, tmp_path: Path) -> None:
    said = _once(tmp_path)
    assert set(said) == {"recorded", "excluded"}
    assert said["excluded"] == {"recordings": 0, "traces": 0}
    recorded = said["recorded"]
    assert set(recorded) == RECORDED
    answered, hung_up = recorded["answered_at"], recorded["hung_up_at"]
    print(f"\n{run}: first frame {(recorded['first_frame_at'] - answered) * 1000:.0f} ms after the answer, ", end="")
    print(f"last {(hung_up - recorded['last_frame_at']) * 1000:.0f} ms before the hangup, {recorded['frames']} frames")
    assert 0 <= recorded["first_frame_at"] - answered <= 0.100
    assert recorded["last_frame_at"] <= hung_up
    assert abs(recorded["audio_seconds"] - (hung_up - answered)) <= 0.020
    assert recorded["frames"] > 20
    _plays(Path(recorded["export"]), recorded)


def _plays(export: Path, recorded: dict[str, Any]) -> None:
    words = ("-v", "error", "-show_entries", "stream=codec_type,codec_name,channels", "-of", "json")
    probed = subprocess.run(["ffprobe", *words, str(export)], check=True, capture_output=True, text=True)
    assert probed.stderr == ""
    streams = {stream["codec_type"]: stream for stream in json.loads(probed.stdout)["streams"]}
    assert streams["audio"]["channels"] == 2
    assert streams["video"]["codec_name"] == "vp9"
    times = decode(export).times
    assert times[0] == pytest.approx(recorded["first_frame_at"], abs=0.001)
    assert times[-1] == pytest.approx(recorded["last_frame_at"], abs=0.001)
