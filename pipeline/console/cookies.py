"""The console's cookies: never for scripts, never from other sites, only over https where that is how people come."""

from __future__ import annotations

from starlette.responses import Response

from pipeline.console.caller import Caller
from pipeline.secret import Secret

VISITOR = "daifu_visitor"  # what forms before the sign-in are bound to
FLASH = "daifu_flash"


def session_name(caller: Caller) -> str:
    """Over https with the prefix that browsers hold to: no other host and no plain http can have set it."""
    return "__Host-daifu_session" if caller.https else "daifu_session"


def put(response: Response, name: str, value: str | Secret, caller: Caller) -> None:
    """Until the browser closes; how long a session really lasts is known to the database."""
    text = value.reveal() if isinstance(value, Secret) else value
    response.set_cookie(name, text, path="/", secure=caller.https, httponly=True, samesite="strict")


def drop(response: Response, name: str, caller: Caller) -> None:
    response.delete_cookie(name, path="/", secure=caller.https, httponly=True, samesite="strict")
