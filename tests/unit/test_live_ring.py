"""A ring that follows its file: rotated by somebody else, damaged, taken away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.live_ring import LiveRing
from pipeline.secret import Secret
from pipeline.vault import KeyRing, VaultError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "ring.json"
    KeyRing.generate().save(file)
    return file


def test_a_box_of_a_key_that_came_a_moment_ago_opens_and_the_next_is_closed_with_it(path: Path) -> None:
    seen: list[str] = []
    live = LiveRing(path, lambda ring: seen.append(ring.public.key_id))
    first = live.seal("before")
    rotated = KeyRing.load(path).rotate()
    rotated.save(path)
    assert live.open(rotated.seal("after")).reveal() == "after"
    assert live.seal("next").startswith(f"{rotated.public.key_id}.")
    assert live.open(first).reveal() == "before"
    assert live.fingerprint(Secret("x")) == rotated.fingerprint(Secret("x"))
    assert seen == [first.partition(".")[0], rotated.public.key_id]


def test_it_seals_with_the_new_key_without_having_met_a_box_of_it(path: Path) -> None:
    live = LiveRing(path, lambda _ring: None)
    KeyRing.load(path).rotate().save(path)
    assert live.public == KeyRing.load(path).public


def test_a_key_that_is_on_no_ring_is_still_that(path: Path) -> None:
    live = LiveRing(path, lambda _ring: None)
    with pytest.raises(VaultError, match="not on this ring"):
        live.open(KeyRing.generate().seal("foreign"))


@pytest.mark.parametrize("damage", ["no ring", "others may read it", "gone"])
def test_a_file_that_can_not_be_used_leaves_the_ring_as_it_was_and_is_said(path: Path, damage: str) -> None:
    live = LiveRing(path, lambda _ring: None)
    box, whole = live.seal("kept"), path.read_bytes()
    if damage == "no ring":
        path.write_text("{")
    elif damage == "others may read it":
        KeyRing.load(path).rotate().save(path)
        path.chmod(0o644)
    else:
        path.unlink()
    with capture_logs() as lines:
        assert live.open(box).reveal() == "kept"
        assert live.seal("as before").partition(".")[0] == box.partition(".")[0]
    assert {line["event"] for line in lines} == {"key_ring_not_read"}
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(whole)
    assert live.open(live.seal("and on")).reveal() == "and on"


def test_a_ring_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="No such file"):
        LiveRing(tmp_path / "none.json", lambda _ring: None)


def test_a_ring_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    KeyRing.generate().save(path)
    if os.geteuid() == 0:
        os.chown(path, 10001, 10001)
    before = path.stat()
    KeyRing.load(path).rotate().save(path)
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino
