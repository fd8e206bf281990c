"""The final WebM in Chromium, as a trainee sees it."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from sipgate.media.finish import finish_recording
from tests.media.test_finish import SECOND, Recording, tone
from tests.peers.vp9_film import film

CHROMIUM = shutil.which("chromium")
PLAY = """async () => {
  const video = document.createElement('video'), canvas = document.createElement('canvas'), seen = [];
  video.src = 'film.webm';
  document.body.append(video);
  await new Promise(ready => video.addEventListener('canplaythrough', ready, {once: true}));
  const look = (_, frame) => {
    canvas.width = frame.width; canvas.height = frame.height;
    const drawing = canvas.getContext('2d', {willReadFrequently: true});
    drawing.drawImage(video, 0, 0);
    const row = drawing.getImageData(0, 20, frame.width, 1).data, bar = Math.floor(frame.width / 16);
    let number = 0;
    for (let bit = 0; bit < 16; bit++) if (row[4 * (bit * bar + (bar >> 1))] > 127) number |= 1 << bit;
    seen.push([video.currentTime, number, frame.width]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  const audio = new AudioContext(), splitter = audio.createChannelSplitter(2);
  audio.createMediaElementSource(video).connect(splitter);
  const sides = [0, 1].map(side => {
    const analyser = audio.createAnalyser();
    analyser.fftSize = 8192;
    splitter.connect(analyser, side);
    return analyser;
  });
  const loudness = analyser => {
    const wave = new Float32Array(8192);
    analyser.getFloatTimeDomainData(wave);
    return Math.sqrt(wave.reduce((sum, sample) => sum + sample * sample, 0) / 8192);
  };
  await video.play();
  await new Promise(done => setTimeout(done, 1500));
  const levels = sides.map(loudness);
  await new Promise(done => video.addEventListener('ended', done, {once: true}));
  return {seen, levels, duration: video.duration};
}"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """``tmp_path`` by HTTP on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    (tmp_path / "index.html").write_text("<!doctype html><body></body>")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()


@pytest.mark.peer
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_chromium_plays_both_sides_and_shows_no_picture_early_through_pauses_and_a_resize(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.setpriority", lambda *_: None)
    times = [300, 420, 1400, 2400, 3600, 3700, 5100]
    recording = Recording(tmp_path, 6 * SECOND)
    recording.hear(tone(440, 6), tone(440, 6)[:0])
    recording.film(film(times[:4]) + film(times[4:], width=480, height=320, first=4))
    finish_recording(recording.job())
    (tmp_path / "film.webm").write_bytes(recording.webm())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        page = browser.new_page()
        page.goto(served)
        played = page.evaluate(PLAY)
        browser.close()
    assert played["duration"] == pytest.approx(6, abs=0.02)
    left, right = played["levels"]
    assert left > 0.1
    assert right < left / 100, "40 dB apart"
    assert {number for _, number, _ in played["seen"]} >= {2, 3, 6}, "those that stand long"
    assert {width for _, number, width in played["seen"] if number >= 4} == {480}
    assert max(times[number] / 1000 - at for at, number, _ in played["seen"]) < 0.1
