"""JSON Schemas of every message, as files for the people on the other side (`schemas/json/`, `daifu schemas export`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from schemas import agents_document, asyncapi
from schemas.am_messages import EVENTS, type_of
from schemas.compatibility import Direction, Schema, breaks
from schemas.dead_letter import DeadLetter
from schemas.results import ResultEvent
from schemas.wakeup import Wakeup

COMMITTED = Path(__file__).parent / "json"
DOCUMENTS = Path(__file__).parent.parent / "deploy" / "docs"


class IncompatibleSchema(Exception):
    """A message changed so that its neighbours would no longer understand it."""

    def __init__(self, name: str, broken: list[str]) -> None:
        super().__init__(f"{name}: {'; '.join(broken)}")
        self.name = name
        self.broken = broken


@dataclass(frozen=True, slots=True)
class Described:
    """A message that has a schema file: its name, its model, and who reads or writes it."""

    name: str
    model: type[BaseModel]
    direction: Direction

    @property
    def file_name(self) -> str:
        return f"{self.name}.schema.json"

    def schema(self) -> Schema:
        body = self.model.model_json_schema(mode="serialization" if self.direction == "outgoing" else "validation")
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "title": self.name}


def described() -> list[Described]:
    """Every message, ours and AM's."""
    return [
        *(Described(type_of(event), event, "incoming") for event in EVENTS),
        Described("purchase.result", ResultEvent, "outgoing"),
        Described("wakeup", Wakeup, "both"),
        Described("dead_letter", DeadLetter, "both"),
    ]


def documents() -> dict[str, str]:
    """What people read instead of a schema, by file name."""
    return {asyncapi.FILE_NAME: asyncapi.render(), agents_document.FILE_NAME: agents_document.render()}


def render(schema: Schema) -> str:
    return json.dumps(schema, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def export(folder: Path) -> list[Path]:
    """Write schemas and documents into `folder`, which is made if need be; returns the files, in a fixed order.

    Beside the committed schemas the documents have a place of their own, `deploy/docs`.

    Raises IncompatibleSchema, before anything is written, where a file that is there would be broken by its successor.
    """
    messages = described()
    for message in messages:
        file = folder / message.file_name
        if file.exists():
            broken = breaks(json.loads(file.read_text("utf-8")), message.schema(), message.direction)
            if broken:
                raise IncompatibleSchema(message.name, broken)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for message in messages:
        file = folder / message.file_name
        file.write_text(render(message.schema()), "utf-8")
        written.append(file)
    place = DOCUMENTS if folder.resolve() == COMMITTED.resolve() and DOCUMENTS.is_dir() else folder
    for name, text in documents().items():
        file = place / name
        file.write_text(text, "utf-8")
        written.append(file)
    return written
