"""The console's cookies: never for scripts, never from other sites, only over https where that is how people come."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import Response

from pipeline.console.caller import Caller
from pipeline.secret import Secret

SESSION = "daifu_session"
VISITOR = "daifu_visitor"  # what forms before the sign-in are bound to
FLASH = "daifu_flash"


def held(request: HTTPConnection, name: str, caller: Caller) -> str | None:
    """What the browser sent of it."""
    return request.cookies.get(_sent_as(name, caller))


def put(response: Response, name: str, value: str | Secret, caller: Caller) -> None:
    """Until the browser closes; how long a session really lasts is known to the database."""
    text = value.reveal() if isinstance(value, Secret) else value
    response.set_cookie(_sent_as(name, caller), text, path="/", secure=caller.https, httponly=True, samesite="strict")


def drop(response: Response, name: str, caller: Caller) -> None:
    response.delete_cookie(_sent_as(name, caller), path="/", secure=caller.https, httponly=True, samesite="strict")


def _sent_as(name: str, caller: Caller) -> str:
    """Over https with the prefix that browsers hold to: no other host and no plain http can have set it."""
    return f"__Host-{name}" if caller.https else name
