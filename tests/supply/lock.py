"""The locks: what is installed, by which hashes, and who asked for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LOCKS: Final = {"product": ROOT / "requirements.lock", "tests": ROOT / "requirements-dev.lock"}

_PIN = re.compile(r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[0-9][0-9a-z.+]*)(?: ; [^\\]+)? \\")
_HASH = re.compile(r" {4}--hash=sha256:(?P<hash>[0-9a-f]{64})(?: \\)?")
_WHO = re.compile(r" {4}# (?:via(?: (?P<one>.+))?|  (?P<many>\S.*))")


@dataclass(frozen=True, slots=True)
class Locked:
    """One package. `hashes`: SHA-256 of each file that may be installed. `wanted_by`: packages, and daifu itself."""

    name: str
    version: str
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]


def read(path: Path) -> list[Locked]:
    """Every package of a lock. Raises ValueError, naming the line, for one without an exact version or a SHA-256."""
    found: list[Locked] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if pin := _PIN.fullmatch(line):
            found.append(Locked(pin["name"], pin["version"], (), ()))
        elif (hashed := _HASH.fullmatch(line)) and found:
            last = found[-1]
            found[-1] = Locked(last.name, last.version, (*last.hashes, hashed["hash"]), last.wanted_by)
        elif (who := _WHO.fullmatch(line)) and found:
            last, by = found[-1], who["one"] or who["many"]
            names = (*last.wanted_by, by.partition(" ")[0]) if by else last.wanted_by
            found[-1] = Locked(last.name, last.version, last.hashes, names)
        elif line and not line.startswith("#"):
            raise ValueError(f"{path.name}:{number}: neither a package with its exact version nor a SHA-256: {line}")
    bare = [one.name for one in found if not one.hashes]
    if bare:
        raise ValueError(f"{path.name}: without a hash: {', '.join(bare)}")
    return found


def differing(product: list[Locked], tests: list[Locked]) -> list[str]:
    """Where the tests would not run on what is shipped: another version, or another file of it."""
    tested = {one.name: one for one in tests}
    return [
        f"{one.name} {one.version}: requirements-dev.lock has {tested[one.name].version if one.name in tested else 'none'}"
        for one in product
        if one.name not in tested or (tested[one.name].version, tested[one.name].hashes) != (one.version, one.hashes)
    ]
