"""`python -m tests.supply`: what daifu is built from.

check        part of `make check`: locks with hashes, no known weakness, allowed licences, a current licence list
licences     write deploy/docs/licences.md
sbom         print the CycloneDX bill of materials: `make sbom`
advisories   ask the OSV database anew and write the snapshot: `make advisories`, needs a network
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.supply import advisories, licences
from tests.supply.bom import bill
from tests.supply.lock import LOCKS, differing, read


def problems() -> list[str]:
    """Everything that is wrong, in words. Raises ValueError for a lock that can't be read."""
    product, tests = read(LOCKS["product"]), read(LOCKS["tests"])
    found = differing(product, tests)
    found += advisories.affected(tests, advisories.load())
    found += licences.not_allowed(tests)
    if licences.PAGE.read_text("utf-8") != licences.page():
        found.append(f"{licences.PAGE.name} is out of date: python -m tests.supply licences")
    return found


def main(arguments: list[str]) -> int:
    """Exit code 0, 1 for problems, 2 for another command."""
    match arguments:
        case ["check"]:
            found = problems()
            print(*(found or ["supply: locks, advisories and licences are in order"]), sep="\n")
            return 1 if found else 0
        case ["licences"]:
            licences.PAGE.write_text(licences.page(), "utf-8")
        case ["sbom"]:
            print(bill(), end="")
        case ["advisories"]:
            names = {one.name for one in read(LOCKS["tests"])}
            write(advisories.SNAPSHOT, advisories.asked_anew(names, f"{datetime.now(UTC):%Y-%m-%d}"))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
