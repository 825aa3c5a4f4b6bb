"""Texts in cells of a table that other programs open."""

from __future__ import annotations

# What Excel, WPS or LibreOffice may take for the beginning of a formula, in either width, or skip before looking for one.
_BEGINS_A_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


def as_text(value: str) -> str:
    """`value` so that no program that opens a CSV calculates it: an apostrophe goes before what could begin a formula."""
    return f"'{value}" if value.lstrip(" \u3000").startswith(_BEGINS_A_FORMULA) else value
