"""What `daifu doctor` says of the key rings."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.cli.doctor_inside import all_in_one
from pipeline.cli.findings import Finding, Wrong, ok, warning, wrong
from pipeline.settings import Settings
from pipeline.vault import KeyRing, PublicKey, VaultError

OLD_KEY: Final = timedelta(days=365)


class _Ring(NamedTuple):
    ring: KeyRing
    findings: list[Finding]


def password_vault(settings: Settings) -> list[Finding]:
    if settings.vault_public_key is not None and not settings.vault_path.exists():
        key_id = PublicKey.parse(settings.vault_public_key).key_id
        return [ok(f"public key {key_id} only: passwords can't be read here")]
    if _not_here(settings, settings.vault_file, settings.vault_path):
        return [ok("DAIFU_VAULT_FILE not set here: only the payment worker needs it")]
    read = _ring(settings.vault_path, "passwords")
    if settings.vault_public_key is not None:
        read.findings.extend(_matches(PublicKey.parse(settings.vault_public_key), read.ring, settings.vault_path))
    return read.findings


def _matches(public: PublicKey, ring: KeyRing, path: Path) -> list[Finding]:
    """Whether what is sealed with the public half can be opened with the ring."""
    advice = f"give this and AM the public key that `daifu vault keygen` prints: {ring.public}"
    if public.key_id not in ring.key_ids:
        return [wrong(f"DAIFU_VAULT_PUBLIC_KEY {public.key_id} is not on the ring {path}", advice)]
    try:
        ring.open(public.seal("a trial"))
    except VaultError:
        return [wrong(f"DAIFU_VAULT_PUBLIC_KEY has the id of a key on {path} and is another key", advice)]
    if public.key_id != ring.public.key_id:
        return [warning(f"DAIFU_VAULT_PUBLIC_KEY {public.key_id} is not the current key", advice)]
    return []


def service_keys(settings: Settings) -> list[Finding]:
    if _not_here(settings, settings.service_keys_file, settings.service_keys_path):
        return [ok("DAIFU_SERVICE_KEYS_FILE not set here: intake, notification, relay, serve and operators need it")]
    return _ring(settings.service_keys_path, "services").findings


def _not_here(settings: Settings, named: Path | None, path: Path) -> bool:
    """Of one process among others each has only the rings that are its own."""
    return named is None and not all_in_one(settings) and not path.exists()


def _ring(path: Path, name: str) -> _Ring:
    if not path.exists():
        raise Wrong(f"no key ring {path}", "run `daifu vault keygen`, or copy it here")
    folder = stat.S_IMODE(path.resolve().parent.stat().st_mode)
    if folder & 0o022:
        raise Wrong(f"{path.parent} may be written by others (mode {folder:04o})", f"chmod go-w {path.parent}")
    file = path.stat()
    mode = stat.S_IMODE(file.st_mode)
    # A secret that Kubernetes mounts is root's, and ours to read by the group it gives the pod.
    ours_by_group = file.st_uid != os.geteuid() and file.st_gid in (os.getegid(), *os.getgroups())
    if mode & (0o037 if ours_by_group else 0o077):
        raise Wrong(
            f"{path} may be read by others (mode {mode:04o})", f"chmod 600 {path}; consider `daifu vault rotate`"
        )
    ring = KeyRing.load(path)
    age = None if ring.created_at is None else datetime.now(UTC) - ring.created_at
    words = "made before keys had a date" if age is None else f"{age.days} days old"
    found = [ok(f"{len(ring.key_ids)} keys, current {ring.public.key_id}, {words}")]
    if age is not None and age > OLD_KEY:
        found = [warning(found[0].detail, f"run `daifu vault rotate --ring {name}`, then `daifu vault reseal`")]
    return _Ring(ring, found)
