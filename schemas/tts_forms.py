"""Reading what an agent's program sent: a body or query string becomes named texts (wire-protocols A.1, D.2).

Bodies come percent-encoded (l9e), raw in UTF-8 with raw JSON (takit), or half of each (hthy). So: split on `&` and the first
`=` only, then percent-decode. A parameter that comes twice with different values can't be trusted: it is refused where it is used.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

MAX_PARAMETERS = 100


class FormError(ValueError):
    """A form that can't be read. `parameter` is one of our names, or "" for the whole; no value is ever in its text."""

    def __init__(self, parameter: str, words: str) -> None:
        super().__init__(f"{parameter}: {words}" if parameter else words)
        self.parameter = parameter


class Form:
    """The decoded raw texts by parameter name. Missing is empty, as the signature's rule has it. Shows no value."""

    __slots__ = ("_contradicted", "_values")

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        self._contradicted: set[str] = set()
        for name, value in pairs:
            if self._values.setdefault(name, value) != value:
                self._contradicted.add(name)

    def get(self, name: str) -> str:
        """The raw text of a parameter. Raises FormError where it came twice with different values."""
        if name in self._contradicted:
            raise FormError(name, "重复且不一致")
        return self._values.get(name, "")

    def __repr__(self) -> str:
        return f"Form({len(self._values)} parameters)"


def decode(raw: bytes) -> Form:
    """The form in `raw`. Raises FormError for what is no UTF-8 or has more than a hundred parameters."""
    if raw.count(b"&") >= MAX_PARAMETERS:
        raise FormError("", "参数过多")
    pairs = []
    for piece in raw.split(b"&"):
        name, equals, value = piece.partition(b"=")
        if equals:
            pairs.append((_text(name), _text(value)))
    return Form(pairs)


def _text(raw: bytes) -> str:
    plain = raw.replace(b"+", b" ")
    try:
        return (unquote_to_bytes(plain) if b"%" in plain else plain).decode("utf-8")
    except UnicodeDecodeError:
        pass
    # outside of the except: the error knows the bytes, which may hold a password, and must not hang on as the context
    raise FormError("", "不是UTF-8编码")
