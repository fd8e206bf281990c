"""Packets into sealed segments: what is released, what a hangup cuts off. RULES.md R2, R19."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_client.protocol import FilmPacket, open_segment
from capture_client.reel import SEGMENT_NS, SHOW_AGAIN, Kept, Reel
from capture_client.spool import Spool

MS = 1_000_000
RECORDING = "ab" * 16
KEY = X25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()


def packet(pts_ms: int) -> FilmPacket:
    return FilmPacket(pts_ms == 0, pts_ms * MS, 64, 48, bytes([pts_ms % 251]) * 9)


class Rig:
    """A reel over a real spool."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.take = self.spool.begin(RECORDING)
        self.reel = Reel(RECORDING, self.take, PUBLIC)

    def on_disk(self) -> list[list[int]]:
        """By segment, the times in ms."""
        files = sorted(self.take.path.glob("*.seg"))
        return [[p.pts_ns // MS for p in open_segment(f.read_bytes(), KEY)] for f in files]

    def uploadable(self) -> list[int]:
        """Every time in a segment that may be uploaded, as an uploader would take them."""
        found: list[int] = []
        while (part := self.spool.next_part()) is not None and part.index is not None:
            found += [p.pts_ns for p in open_segment(part.path.read_bytes(), KEY)]
            self.spool.acknowledged(part)
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "spool")


def test_a_segment_holds_half_a_second_and_is_on_the_disk_before_the_next_begins(rig: Rig) -> None:
    for pts in range(0, 1600, 100):
        rig.reel.add(packet(pts))
    assert rig.on_disk() == [[0, 100, 200, 300, 400], [500, 600, 700, 800, 900], [1000, 1100, 1200, 1300, 1400]]
    assert rig.reel.seal_due_ns == 1500 * MS + SEGMENT_NS
    rig.reel.seal()
    assert rig.on_disk()[-1] == [1500]
    assert rig.reel.seal_due_ns is None


def test_nothing_may_be_uploaded_before_the_server_says_that_the_call_still_lived(rig: Rig) -> None:
    for pts in range(0, 1100, 100):
        rig.reel.add(packet(pts))
    assert rig.spool.next_part() is None
    rig.reel.confirm(899 * MS)
    assert rig.uploadable() == [n * MS for n in range(0, 500, 100)]
    rig.reel.confirm(900 * MS)
    assert rig.uploadable() == [n * MS for n in range(500, 1000, 100)]


def test_a_hangup_in_the_past_cuts_what_was_sealed_already_and_seals_the_rest_with_a_fresh_key(rig: Rig) -> None:
    for pts in range(0, 1600, 100):
        rig.reel.add(packet(pts))
    sealed_before = (rig.take.path / "000001.seg").read_bytes()
    kept = rig.reel.finish(750 * MS)
    assert rig.on_disk()[0] == [0, 100, 200, 300, 400]
    assert rig.on_disk()[1] == [500, 600, 700, 749]
    assert len(rig.on_disk()) == 2
    assert (rig.take.path / "000001.seg").read_bytes()[40:72] != sealed_before[40:72]  # the ephemeral key
    assert kept == Kept(0, 750 * MS - 1, 9)


def test_the_last_picture_stays_until_the_hangup(rig: Rig) -> None:
    rig.reel.add(packet(0))
    rig.reel.finish(400 * MS)
    (file,) = rig.take.path.glob("*.seg")
    last = open_segment(file.read_bytes(), KEY)[-1]
    assert last == FilmPacket(False, 400 * MS - 1, 64, 48, SHOW_AGAIN)


def test_a_film_that_ends_by_itself_keeps_what_was_confirmed_and_no_more(rig: Rig) -> None:
    for pts in range(0, 1600, 100):
        rig.reel.add(packet(pts))
    rig.reel.confirm(600 * MS)
    assert rig.reel.finish(None) == Kept(0, 400 * MS, 5)
    assert rig.on_disk() == [[0, 100, 200, 300, 400]]
    assert (rig.take.path / "end").read_text() == '{"segments": 1}'


def test_a_hangup_before_the_first_picture_leaves_an_empty_take(rig: Rig) -> None:
    rig.reel.add(packet(50))
    assert rig.reel.finish(10 * MS) == Kept(None, None, 0)
    assert rig.on_disk() == []


def test_an_unusable_recording_key_is_refused(tmp_path: Path) -> None:
    take = Spool(tmp_path / "s").begin(RECORDING)
    with pytest.raises(ValueError, match="shared key"):
        Reel(RECORDING, take, bytes(32))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 400)),
        st.tuples(st.just("confirm"), st.integers(0, 900)),
        st.tuples(st.just("cut"), st.integers(0, 900)),
        st.tuples(st.just("seal"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 1500))
def test_whatever_the_order_uploads_lie_before_the_confirmed_time_and_the_film_before_its_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], before_end: int
) -> None:
    rig = Rig(tmp_path_factory.mktemp("reel") / "s")
    now, confirmed, uploaded, kept = 0, -1, list[int](), list[int]()
    for step, ms in steps:
        if step == "add":
            now += ms
            rig.reel.add(packet(now))
            kept.append(now * MS)
        elif step == "confirm":
            confirmed = max(confirmed, now - ms)
            rig.reel.confirm(confirmed * MS)
        elif step == "cut":
            at = max(now - ms, confirmed + 1)  # the server confirms nothing that it takes back
            rig.reel.cut(at * MS)
            kept = [t for t in kept if t < at * MS]
        else:
            rig.reel.seal()
        uploaded += rig.uploadable()
        assert all(t <= confirmed * MS for t in uploaded)
    end = max(now - before_end, confirmed + 1) * MS
    film = rig.reel.finish(end)
    uploaded += rig.uploadable()
    kept = [t for t in kept if t < end]
    wanted = [*kept, end - 1] if kept and kept[-1] < end - 1 else kept
    assert uploaded == wanted
    assert film.frames == len(wanted)
    assert (film.first_ns, film.last_ns) == ((wanted[0], wanted[-1]) if wanted else (None, None))
