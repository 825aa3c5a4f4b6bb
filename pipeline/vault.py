"""Sealed boxes: anyone with the public key can close one, only the holder of the ring opens it (DESIGN section 9).

On a wire and in the database: `<key_id>.<base64url without padding of a libsodium sealed box>`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import stat
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from nacl.public import PublicKey as BoxKey

from pipeline.errors import DaifuError
from pipeline.secret import Secret
from pipeline.whole_file import replace_whole

KEY_BYTES = 32
_SEALED = re.compile(r"([0-9A-Za-z_-]{1,64})\.([0-9A-Za-z_-]{64,})")  # 64 characters: the box around nothing
_KEY_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_FINGERPRINT_USE = b"daifu password fingerprint 1"  # one key, one use: never the private key itself
#: An old key goes a day after the new one was made, not before: until then somebody may still seal with it.
RETIRE_AFTER = timedelta(hours=24)


class VaultError(DaifuError):
    """A key or a sealed text is not usable. Names key ids and files, never a content."""


class Sealer(Protocol):
    """What closes boxes: a public key, or a ring, which closes with its newest."""

    @property
    def public(self) -> PublicKey: ...

    def seal(self, content: str | bytes | Secret) -> str: ...


class PublicKey(NamedTuple):
    """What closes boxes. `public_key` is base64url without padding."""

    key_id: str
    public_key: str

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read `key_id:base64url` (the setting VAULT_PUBLIC_KEY). Raises VaultError."""
        key_id, colon, encoded = text.strip().partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id) or len(_unarmoured(encoded) or b"") != KEY_BYTES:
            raise VaultError("a public key is written key_id:base64url, with 32 bytes of key")
        return cls(key_id, encoded.rstrip("="))

    def __str__(self) -> str:
        return f"{self.key_id}:{self.public_key}"

    @property
    def public(self) -> PublicKey:
        return self

    def seal(self, content: str | bytes | Secret) -> str:
        """Close a box around `content` (text as UTF-8). Every call gives another text. Raises VaultError for a bad key."""
        key = _unarmoured(self.public_key)
        if key is None or len(key) != KEY_BYTES:
            raise VaultError(f"key {self.key_id!r}: not a public key")
        held = content if isinstance(content, Secret) else Secret(content)
        return f"{self.key_id}.{_armoured(SealedBox(BoxKey(key)).encrypt(held.reveal_bytes()))}"


@dataclass(frozen=True, slots=True)
class _Key:
    key_id: str
    private: Secret = field(repr=False)
    created_at: datetime | None = None  # rings from before keys had a date don't know

    @classmethod
    def generate(cls, created_at: datetime | None) -> _Key:
        return cls.of(bytes(PrivateKey.generate()), created_at)

    @classmethod
    def of(cls, private: bytes, created_at: datetime | None = None) -> _Key:
        public = bytes(PrivateKey(private).public_key)
        return cls(hashlib.sha256(public).hexdigest()[:16], Secret(private), created_at)

    def box_key(self) -> PrivateKey:
        return PrivateKey(self.private.reveal_bytes())


class _Held(NamedTuple):
    """What a ring consists of. `fingerprint_key` outlives the key that it was once made from."""

    keys: tuple[_Key, ...]
    boxes: dict[str, SealedBox[PrivateKey]]
    fingerprint_key: Secret


class KeyRing:
    """Private keys, oldest first; the newest closes boxes, all of them open. Not changed once made."""

    def __init__(self, keys: tuple[_Key, ...], fingerprint_key: Secret | None = None) -> None:
        """`fingerprint_key`: of a ring that has lost its first key; else it is made from the first."""
        if not keys:
            raise VaultError("a key ring needs a key")
        fingerprints = fingerprint_key or _fingerprint_key(keys)
        self.held = _Held(keys, {key.key_id: SealedBox(key.box_key()) for key in keys}, fingerprints)

    @classmethod
    def generate(cls, created_at: datetime | None = None) -> KeyRing:
        """A ring with one new key, made at `created_at`."""
        return cls((_Key.generate(created_at),))

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a ring's file. Raises VaultError where it can't be read, is no ring, or others than its owner may read it."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = file.read()
        except OSError as error:
            raise VaultError(f"key ring {path}: {error.strerror}") from None
        mode = stat.S_IMODE(status.st_mode)
        # Kubernetes mounts a secret as root's file, readable for the pod's own group: there is no other way to give it.
        ours_by_group = 0o040 if status.st_uid == 0 != os.geteuid() else 0
        if mode & 0o077 & ~ours_by_group:
            raise VaultError(f"key ring {path}: mode is {mode:04o}, must be 0600 (chmod 600 {path})")
        ring = _ring_of(content)
        if ring is None:
            raise VaultError(f"key ring {path}: not a key ring")
        return cls(*ring)

    def save(self, path: Path) -> None:
        """Write the ring's file, mode 0600, all of it or nothing. Raises VaultError."""
        held = self.held
        content: dict[str, Any] = {"version": 1, "keys": [_row(key) for key in held.keys]}
        if held.fingerprint_key != _fingerprint_key(held.keys):
            content["fingerprint_key"] = _armoured(held.fingerprint_key.reveal_bytes())
        try:
            replace_whole(path, json.dumps(content, indent=2).encode() + b"\n")
        except OSError as error:
            raise VaultError(f"key ring {path}: {error.strerror}") from None

    def rotate(self, created_at: datetime | None = None) -> KeyRing:
        """A ring with a new current key, made at `created_at`; boxes closed with the old ones still open."""
        return KeyRing((*self.held.keys, _Key.generate(created_at)), self.held.fingerprint_key)

    def retire(self, now: datetime) -> KeyRing:
        """A ring with the current key alone, for good: what was sealed with the others can't be opened any more.

        Fingerprints stay as they are. Raises VaultError while somebody may still seal with an old key.
        """
        made = self.created_at
        if len(self.key_ids) > 1 and (made is None or now < made + RETIRE_AFTER):
            when = "it has no date" if made is None else f"it was made {made.isoformat(timespec='seconds')}"
            raise VaultError(f"key {self.public.key_id!r} must be current for 24 h before the old keys go; {when}")
        return KeyRing(self.held.keys[-1:], self.held.fingerprint_key)

    @property
    def created_at(self) -> datetime | None:
        """When the current key was made; None where the ring does not say."""
        return self.held.keys[-1].created_at

    @property
    def public(self) -> PublicKey:
        """What closes boxes for this ring now."""
        current = self.held.keys[-1]
        return PublicKey(current.key_id, _armoured(bytes(current.box_key().public_key)))

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Oldest first."""
        return tuple(key.key_id for key in self.held.keys)

    def seal(self, content: str | bytes | Secret) -> str:
        return self.public.seal(content)

    def open(self, sealed: str) -> Secret:
        """What the box holds: `reveal()` for text, `reveal_bytes()` for bytes.

        Raises VaultError naming the key id for a box of another ring or a damaged one; a text that has not even the shape
        of a box is not quoted, since it may be a password somebody forgot to seal.
        """
        key_id, armoured = _parts_of(sealed)
        box = self.held.boxes.get(key_id)
        if box is None:
            raise VaultError(f"key {key_id!r}: not on this ring")
        content = _opened(box, armoured)
        if content is None:
            raise VaultError(f"key {key_id!r}: the sealed text is damaged or was closed with another key")
        return content

    def fingerprint(self, secret: Secret) -> str:
        """HMAC-SHA256, hex, the same for the same content for as long as the ring lives, through every rotation.

        Tells whether a password changed, which its sealed forms can't (DESIGN 5.7).
        """
        return hmac.new(self.held.fingerprint_key.reveal_bytes(), secret.reveal_bytes(), "sha256").hexdigest()

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.key_ids)})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key ring can't be serialised")


def _fingerprint_key(keys: tuple[_Key, ...]) -> Secret:
    return Secret(hmac.digest(keys[0].private.reveal_bytes(), _FINGERPRINT_USE, "sha256"))


def key_id_of(sealed: str) -> str:
    """The id of the key that a box was closed with. Raises VaultError for a text without the shape of a box."""
    return _parts_of(sealed)[0]


def _parts_of(sealed: str) -> tuple[str, str]:
    shape = _SEALED.fullmatch(sealed)
    if shape is None:
        raise VaultError("not a sealed text (key_id.base64url)")
    key_id, armoured = shape.groups()
    return key_id, armoured


def _opened(box: SealedBox[PrivateKey], armoured: str) -> Secret | None:
    closed = _unarmoured(armoured)
    if closed is None:
        return None
    try:
        return Secret(box.decrypt(closed))
    except CryptoError:
        return None


def _ring_of(content: bytes) -> tuple[tuple[_Key, ...], Secret | None] | None:
    """Keys and fingerprint key of a ring's file; None where it is none. Its errors would quote private keys, so none gets
    out."""
    try:
        document: dict[str, Any] = json.loads(content)
        rows: list[dict[str, Any]] = document["keys"]
        pairs = [(row["key_id"], _unarmoured(row["private_key"]), _moment(row.get("created_at"))) for row in rows]
        own = document.get("fingerprint_key")
        fingerprints = None if own is None else _unarmoured(own)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    keys = tuple(
        _Key.of(private, made) for _, private, made in pairs if private is not None and len(private) == KEY_BYTES
    )
    if not keys or [key.key_id for key in keys] != [key_id for key_id, _, _ in pairs]:
        return None
    if own is not None and (fingerprints is None or len(fingerprints) != KEY_BYTES):
        return None
    return keys, None if fingerprints is None else Secret(fingerprints)


def _row(key: _Key) -> dict[str, str]:
    row = {"key_id": key.key_id, "private_key": _armoured(key.private.reveal_bytes())}
    return row if key.created_at is None else {**row, "created_at": key.created_at.isoformat(timespec="seconds")}


def _moment(text: Any) -> datetime | None:
    """Raises ValueError, TypeError: a time without a zone is no time."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _armoured(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _unarmoured(text: str) -> bytes | None:
    """Strict: the one text that `_armoured` gives (padding allowed), else None."""
    bare = text.rstrip("=")
    try:
        content = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    return content if _armoured(content) == bare else None
