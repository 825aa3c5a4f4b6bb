"""A value that must never be seen: it refuses to print and to serialise (DESIGN section 9)."""

from __future__ import annotations

import hmac
from typing import NoReturn, final

MASK = "***"


def _decoded(content: bytes) -> str | None:
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # it holds the bytes: whoever raises must be out of this block
        return None


@final
class Secret:
    """Holds a text or bytes. Whatever shows objects sees `***`; whatever serialises them fails with TypeError.

    Equality takes the same time wherever the contents differ. Copies are the object itself. It can't be hashed: a hash tells
    equal secrets apart from others.
    """

    __slots__ = ("_content",)

    _content: bytes

    def __init__(self, content: str | bytes) -> None:
        held = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else bytes(content)
        object.__setattr__(self, "_content", held)

    def reveal(self) -> str:
        """The content as text. Raises ValueError (without the content) where it is not UTF-8."""
        text = _decoded(self._content)
        if text is None:
            raise ValueError("the secret is not UTF-8 text")
        return text

    def reveal_bytes(self) -> bytes:
        """The content as bytes."""
        return self._content

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._content, other._content)

    __hash__ = None  # type: ignore[assignment]  # the way Python marks a class as unhashable

    def __bool__(self) -> bool:
        return bool(self._content)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret can't be serialised")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret can't be serialised")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret can't be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret can't be changed")
