"""12306's and the cashier's HTML, as far as we read it: forms with their hidden fields, and the cashier's verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from pipeline.errors import Garbled, Upstream


@dataclass(slots=True)
class Form:
    """`inputs` in the order of the page; for inputs outside of any form, `action` is empty."""

    action: str
    method: str
    inputs: list[tuple[str, str]] = field(default_factory=list)

    def values(self) -> dict[str, str]:
        """By name. Raises ValueError when a name stands twice: which one counts is anybody's guess."""
        values = dict(self.inputs)
        if len(values) != len(self.inputs):
            raise ValueError("a form with two inputs of one name")
        return values


def decode(upstream: Upstream, body: bytes) -> str:
    """A page's text. Raises Garbled when it is not UTF-8."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise Garbled(upstream, f"a page of {len(body)} bytes that is not UTF-8") from None


def read_forms(page: str) -> list[Form]:
    """Every form of the page; inputs outside of any form, if there are some, come as a last one without action.

    Raises ValueError for markup that the parser gives up on.
    """
    reader = _FormReader()
    _feed(reader, page)
    return [*reader.forms, *([reader.loose] if reader.loose.inputs else [])]


def hidden_value(page: str, name: str) -> str:
    """The one input of that name anywhere on the page. Raises ValueError when it is missing or stands there twice."""
    found = [value for form in read_forms(page) for key, value in form.inputs if key == name]
    if len(found) != 1:
        raise ValueError(f"a page with {len(found)} inputs {name}")
    return found[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The cashier's `<div id="result" data-code="CODE">TEXT</div>`."""

    code: str
    text: str


def read_verdict(page: str) -> Verdict | None:
    """None unless the page holds exactly one closed result."""
    reader = _VerdictReader()
    try:
        _feed(reader, page)
    except ValueError:
        return None
    return reader.found[0] if len(reader.found) == 1 and not reader.open else None


def _feed(reader: HTMLParser, page: str) -> None:
    try:
        reader.feed(page)
        reader.close()
    except AssertionError:  # html.parser's way to give up on `<![unknown[`
        raise ValueError("HTML that can't be read") from None


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.loose = Form("", "")
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", ""), values.get("method", "get").lower()))
            self._inside = True
        elif tag == "input" and values.get("name") and values.get("type", "text").lower() == "hidden":
            (self.forms[-1] if self._inside else self.loose).inputs.append((values["name"], values.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


class _VerdictReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Verdict] = []
        self.open = False
        self._code = ""
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "div" and values.get("id") == "result":
            self.open, self._code, self._text = True, values.get("data-code", ""), []

    def handle_data(self, data: str) -> None:
        if self.open:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self.open:
            self.open = False
            self.found.append(Verdict(self._code, "".join(self._text).strip()))
