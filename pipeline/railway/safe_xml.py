"""XML from outside, read without entities: a document that declares a DOCTYPE is refused, whatever it declares."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.parsers import expat

XML_MAX = 64 * 1024  # bytes; the largest real answer has a few hundred


def read_xml(document: bytes) -> ElementTree.Element:
    """The root element. Raises ValueError for anything but well-formed XML of at most 64 KiB without a DOCTYPE."""
    if len(document) > XML_MAX:
        raise ValueError("XML is too large")
    _refuse_doctype(document)
    try:
        # No DOCTYPE, so no entity was declared: nothing can expand, nothing outside is read.
        return ElementTree.fromstring(document)  # noqa: S314 - checked by _refuse_doctype, and capped
    except ElementTree.ParseError as error:
        raise ValueError("not well-formed XML") from error


def child_text(parent: ElementTree.Element, name: str) -> str:
    """The text of the one child of that name, stripped. Raises ValueError when it is missing or there are several."""
    found = parent.findall(name)
    if len(found) != 1:
        raise ValueError(f"XML has {len(found)} elements {name}")
    return (found[0].text or "").strip()


def _refuse_doctype(document: bytes) -> None:
    """The parser itself is asked, because a search for the letters misses documents in UTF-16."""
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _doctype
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding nobody knows
        raise ValueError("not well-formed XML") from error


def _doctype(*_declaration: object) -> None:
    raise ValueError("XML with a DOCTYPE")
