"""The licence of every locked package, as its own metadata says, and which licences we take."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import metadata
from typing import Final

from license_expression import get_spdx_licensing

from tests.supply.lock import LOCKS, ROOT, Locked, read

SPDX: Final = get_spdx_licensing()  # takes a tenth of a second to make
PAGE: Final = ROOT / "deploy" / "docs" / "licences.md"

# Permissive, or copyleft that ends at the package's own files or at the library: daifu uses them as published.
ALLOWED: Final = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "LGPL-3.0-only",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
    }
)
# What the older metadata fields say in free words. The two "BSD" of amqp and vine are BSD-3-Clause by their LICENSE files.
_WORDS: Final = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "PSFL": "PSF-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
}
# Whose metadata says nothing, by their LICENSE files; atheris is installed only where there are wheels of it.
_BY_FILE: Final = {"atheris": "Apache-2.0"}
_HEAD: Final = """# Licences of what daifu is built from

Made by `python -m tests.supply licences` from the metadata of the installed packages; `make check` fails when it is out of date or when
a licence is none of: {allowed}.
daifu itself is under Apache-2.0. LGPL-3.0 (psycopg) and MPL-2.0 (certifi, pathspec, hypothesis) cover their own files: they are
installed as published, and nothing of them is copied into ours.
"""


@cache
def licence_of(name: str) -> str:
    """The SPDX expression. Raises ValueError for a package whose metadata says nothing that is understood."""
    if name in _BY_FILE:
        return _BY_FILE[name]
    said = metadata(name)
    stated = [*(said.get_all("License-Expression") or ()), *(said.get_all("License") or ())]
    kinds = [text for text in said.get_all("Classifier") or () if text.startswith("License ::")]
    for text in (*stated, *(kind.rpartition(":: ")[2] for kind in kinds)):
        expression: str = _WORDS.get(text, text)
        if text and not SPDX.validate(expression).errors:
            return expression
    raise ValueError(f"{name}: no licence is understood from its metadata: look, and add its words to {__name__}")


def not_allowed(locked: Iterable[Locked]) -> list[str]:
    """Every key of an expression must be one that we take, also where the package offers a choice."""
    return [
        f"{one.name} {one.version}: {licence_of(one.name)}"
        for one in locked
        if not set(SPDX.license_keys(licence_of(one.name))) <= ALLOWED
    ]


def page() -> str:
    """The whole page; what the tests alone need stands apart, it is not shipped."""
    product = read(LOCKS["product"])
    names = {one.name for one in product}
    tests = [one for one in read(LOCKS["tests"]) if one.name not in names]
    parts = [_HEAD.format(allowed=", ".join(sorted(ALLOWED)))]
    for title, rows in (("The product", product), ("Only to test and build", tests)):
        parts.append(f"\n## {title}\n\n| package | version | licence |\n|---|---|---|\n")
        parts += [f"| {one.name} | {one.version} | {licence_of(one.name)} |\n" for one in rows]
    return "".join(parts)
