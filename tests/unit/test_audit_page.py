"""deploy/docs/audit.md is written from the invariants' own words, and answers the whole catalogue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.store import audit, audit_journal
from pipeline.store.audit_checks import Severity, words_of
from pipeline.store.audit_page import UNMAPPED, page

PAGE = Path(__file__).parents[2] / "deploy" / "docs" / "audit.md"
# The catalogue of payment invariants: letter and how many there are.
CATALOGUE = {"L": 18, "P": 14, "O": 12, "M": 5, "N": 8, "R": 5, "H": 2, "A": 2, "S": 1, "C": 1}


def test_the_page_says_what_the_invariants_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m pipeline.store.audit_page > deploy/docs/audit.md`"


def test_every_invariant_of_the_catalogue_is_answered_or_said_not_to_be() -> None:
    answered = {name for words in (*audit.WORDS, *audit_journal.WORDS) for name in words.anchors.split()}
    not_here = {name for names, _says, _why in UNMAPPED for name in re.findall(r"[A-Z]\d\d", names)}
    everything = {f"{letter}{number:02d}" for letter, count in CATALOGUE.items() for number in range(1, count + 1)}
    assert answered | not_here == everything


def test_an_invariant_without_its_words_is_refused() -> None:
    def half_said() -> None:
        """It says something."""

    with pytest.raises(ValueError, match="half_said"):
        words_of(half_said, Severity.MONEY, "")
