"""The vault: everybody seals, only the ring opens, and nothing it says holds what was sealed."""

from __future__ import annotations

import json
import pickle
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.secret import Secret
from pipeline.vault import RETIRE_AFTER, KeyRing, PublicKey, VaultError
from schemas.am_messages import NeedPay

CANARY = "canary-4711"


@pytest.fixture(scope="module")
def ring() -> KeyRing:
    return KeyRing.generate()


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@settings(max_examples=30)
@given(content=st.text())
def test_what_is_sealed_is_opened_the_same(content: str) -> None:
    ring = KeyRing.generate()
    assert ring.open(ring.seal(content)).reveal() == content


def test_bytes_and_secrets_are_sealed_too(ring: KeyRing) -> None:
    assert ring.open(ring.seal(b"\xff\x00")).reveal_bytes() == b"\xff\x00"
    assert ring.open(ring.seal(Secret(CANARY))) == Secret(CANARY)


def test_a_sealed_text_is_the_key_id_and_base64url_and_never_the_same_twice(ring: KeyRing) -> None:
    sealed = ring.seal(CANARY)
    key_id, _, box = sealed.partition(".")
    assert key_id == ring.public.key_id
    assert "=" not in box
    assert CANARY not in sealed
    assert ring.seal(CANARY) != sealed


def test_a_sealed_text_has_the_shape_that_messages_ask_for(ring: KeyRing) -> None:
    for password in ("", "x", "密" * 100):
        NeedPay(order_no="demo1", agent="demo", account="u", password_sealed=ring.seal(password))


def test_a_public_key_alone_seals_and_can_be_written_down(ring: KeyRing) -> None:
    written = str(ring.public)
    assert written == f"{ring.public.key_id}:{ring.public.public_key}"
    assert PublicKey.parse(f" {written}\n") == ring.public
    assert ring.open(PublicKey.parse(written).seal(CANARY)).reveal() == CANARY


@pytest.mark.parametrize(
    "text", ["", "k1", "k1:", ":AAAA", "k1:AAAA", "k 1:" + "A" * 43, "k1:" + "A" * 44, "k1:" + "*" * 43]
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(VaultError, match="key_id:base64url"):
        PublicKey.parse(text)


def test_another_rings_box_is_refused_by_its_key_id(ring: KeyRing) -> None:
    other = KeyRing.generate()
    with pytest.raises(VaultError) as caught:
        ring.open(other.seal(CANARY))
    assert other.public.key_id in str(caught.value)


def test_a_damaged_box_is_refused_by_its_key_id(ring: KeyRing) -> None:
    sealed = ring.seal(CANARY)
    flipped = sealed[:-1] + ("A" if sealed[-1] != "A" else "Q")
    for damaged in (sealed[:-4], sealed + "AAAA", flipped):
        with pytest.raises(VaultError, match=ring.public.key_id) as caught:
            ring.open(damaged)
        assert caught.value.__context__ is None


@pytest.mark.parametrize("text", [CANARY, f"k1.{CANARY}", f"{CANARY}.x", ""])
def test_a_password_nobody_sealed_is_not_repeated_in_the_error(ring: KeyRing, text: str) -> None:
    with pytest.raises(VaultError) as caught:
        ring.open(text)
    assert CANARY not in str(caught.value)


def test_a_ring_is_saved_for_its_owner_only_and_loaded_the_same(tmp_path: Path, ring: KeyRing) -> None:
    path = tmp_path / "vault.json"
    ring.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["vault.json"]
    loaded = KeyRing.load(path)
    assert loaded.public == ring.public
    assert loaded.open(ring.seal(CANARY)).reveal() == CANARY


def test_a_saved_ring_replaces_the_old_one_whole(tmp_path: Path, ring: KeyRing) -> None:
    path = tmp_path / "vault.json"
    path.write_text("something else")
    path.chmod(0o644)
    ring.save(path)
    assert KeyRing.load(path).public == ring.public
    with pytest.raises(VaultError, match="No such file"):
        ring.save(tmp_path / "nowhere" / "vault.json")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o660])
def test_a_ring_that_others_may_read_is_not_used(tmp_path: Path, ring: KeyRing, mode: int) -> None:
    path = tmp_path / "vault.json"
    ring.save(path)
    path.chmod(mode)
    with pytest.raises(VaultError, match=f"mode is {mode:04o}, must be 0600"):
        KeyRing.load(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": [7]}',
        json.dumps({"keys": [{"key_id": "k", "private_key": CANARY}]}),
        json.dumps({"keys": [{"key_id": "another", "private_key": "A" * 43}]}),
        '{"keys": [{"key_id": "' + CANARY,
    ],
)
def test_a_file_that_is_no_ring_is_refused_without_its_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vault.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(VaultError, match="not a key ring") as caught:
        KeyRing.load(path)
    assert CANARY not in told(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match=r"nothing\.json: No such file"):
        KeyRing.load(tmp_path / "nothing.json")


def test_after_a_rotation_old_boxes_open_and_new_ones_use_the_new_key(tmp_path: Path, ring: KeyRing) -> None:
    rotated = ring.rotate().rotate()
    path = tmp_path / "vault.json"
    rotated.save(path)
    loaded = KeyRing.load(path)
    assert loaded.key_ids == rotated.key_ids
    assert loaded.key_ids[0] == ring.public.key_id
    assert loaded.public.key_id == loaded.key_ids[-1]
    assert loaded.open(ring.seal(CANARY)).reveal() == CANARY
    assert loaded.open(loaded.seal(CANARY)).reveal() == CANARY
    with pytest.raises(VaultError):
        ring.open(rotated.seal(CANARY))


def test_a_fingerprint_tells_passwords_apart_and_outlives_rotations(ring: KeyRing) -> None:
    first = ring.fingerprint(Secret(CANARY))
    assert len(first) == 64
    assert first == ring.rotate().rotate().fingerprint(ring.open(ring.seal(CANARY)))
    assert first != ring.fingerprint(Secret(CANARY + "x"))
    assert first != KeyRing.generate().fingerprint(Secret(CANARY))


def test_a_ring_shows_key_ids_only_and_refuses_to_be_serialised(tmp_path: Path, ring: KeyRing) -> None:
    path = tmp_path / "vault.json"
    ring.save(path)
    private = json.loads(path.read_text())["keys"][0]["private_key"]
    assert repr(ring) == f"KeyRing({ring.public.key_id})"
    assert private not in repr(vars(ring))
    with pytest.raises(TypeError, match="serialised"):
        pickle.dumps(ring)


def test_old_keys_go_and_fingerprints_stay(tmp_path: Path, ring: KeyRing) -> None:
    made = datetime(2014, 11, 17, tzinfo=UTC)
    rotated = ring.rotate(made)
    only = rotated.retire(made + RETIRE_AFTER)
    assert only.key_ids == (rotated.public.key_id,)
    with pytest.raises(VaultError, match="not on this ring"):
        only.open(ring.seal(CANARY))
    assert only.open(rotated.seal(CANARY)).reveal() == CANARY
    path = tmp_path / "vault.json"
    only.save(path)
    first = ring.fingerprint(Secret(CANARY))
    assert KeyRing.load(path).fingerprint(Secret(CANARY)) == first
    again = KeyRing.load(path).rotate(made)
    again.save(path)
    assert KeyRing.load(path).retire(made + RETIRE_AFTER).fingerprint(Secret(CANARY)) == first


@pytest.mark.parametrize("fingerprint_key", [7, "", "A" * 42, CANARY])
def test_a_ring_with_a_fingerprint_key_that_is_none_is_refused(
    tmp_path: Path, ring: KeyRing, fingerprint_key: object
) -> None:
    path = tmp_path / "vault.json"
    ring.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint_key": fingerprint_key}))
    with pytest.raises(VaultError, match="not a key ring"):
        KeyRing.load(path)
