"""What people see of a phone, an ID number, a name or an address: enough to tell one from another, too little to use."""

from __future__ import annotations

MOST_STARS = 8


def masked(text: str | None, head: int = 3, tail: int = 4) -> str:
    """An ID number: 123********0011. What is too short to keep ends of is all hidden."""
    if not text:
        return ""
    if len(text) <= head + tail:
        return "*" * len(text)
    return f"{text[:head]}{'*' * min(len(text) - head - tail, MOST_STARS)}{text[len(text) - tail :]}"


def masked_phone(text: str | None) -> str:
    """186********."""
    return masked(text, 3, 0)


def masked_name(text: str | None) -> str:
    """曹**."""
    return f"{text[0]}**" if text else ""


def masked_email(text: str | None) -> str:
    """c**@example.com."""
    name, at, host = (text or "").partition("@")
    return f"{name[:1]}**{at}{host}" if at else masked(text, 1, 0)
