"""The AM HTTP door: messages come in by POST where AM has no way to the broker (INTERFACES section 3).

`POST /am/messages` takes one CloudEvent or an array of at most 1,000 and answers 202 only after they are stored.
`GET /am/vault-key` gives the key that seals passwords. Both ask for `Authorization: Bearer <AM_TOKEN>`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from pipeline.errors import DaifuError
from pipeline.secret import Secret
from producers.refusal_log import RefusalLog
from schemas.am_messages import AmMessage, parse_many
from schemas.problems import MAX_PROBLEMS, InvalidMessage, Problem

MAX_REQUEST_BYTES = 10_000_000
_ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Accept = Callable[[list[AmMessage]], Awaitable[list[str]]]
"""Stores all messages or none; one word per message on what became of it. Raises StoreUnavailable, InvalidMessage."""


class StoreUnavailable(DaifuError):
    """Nothing was stored; the caller may send the same again."""


def create_door(accept: Accept, vault_public: Callable[[], tuple[str, str]], token: Secret) -> web.Application:
    """The door as an application of its own. `vault_public` gives (key_id, public key in base64url).

    Raises ValueError for an empty token: it would let everybody in.
    """
    app = web.Application()
    app.add_routes(am_routes(accept, vault_public, token))
    return app


def am_routes(accept: Accept, vault_public: Callable[[], tuple[str, str]], token: Secret) -> list[web.RouteDef]:
    """The door's routes, for an application that serves more. Raises ValueError for an empty token."""
    if not token:
        raise ValueError("AM_TOKEN is empty")
    refusals = RefusalLog("am")

    async def post_messages(request: web.Request) -> web.Response:
        if not _may_enter(request, token, refusals):
            return _no_entry()
        body = await _body(request)
        if body is None:
            return _too_large()
        try:
            messages = parse_many(body)
        except InvalidMessage as error:
            return _invalid(error.problems)
        try:
            words = await accept(messages) if messages else []
        except InvalidMessage as error:  # it contradicts what is stored
            return _invalid(error.problems)
        except StoreUnavailable:
            return _answer(503, {"error": "unavailable", "detail": "nothing was stored: send the same again"})
        accepted = [{"id": message.id, "result": word} for message, word in zip(messages, words, strict=True)]
        return _answer(202, {"accepted": accepted})

    async def get_vault_key(request: web.Request) -> web.Response:
        if not _may_enter(request, token, refusals):
            return _no_entry()
        key_id, public_key = vault_public()
        return _answer(200, {"key_id": key_id, "public_key": public_key})

    return [web.post("/am/messages", post_messages), web.get("/am/vault-key", get_vault_key)]


def _may_enter(request: web.Request, token: Secret, refusals: RefusalLog) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # aiohttp reads header bytes that are no UTF-8 as surrogates
    known = scheme.lower() == "bearer" and Secret(given.strip().encode("utf-8", "surrogateescape")) == token
    if not known:
        refusals.note("no_token", request.remote or "", asyncio.get_running_loop().time())
    return known


async def _body(request: web.Request) -> bytes | None:
    """What was sent; None as soon as it is known to be too long, without reading on."""
    if (request.content_length or 0) > MAX_REQUEST_BYTES:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            return None
    return bytes(body)


def _invalid(problems: tuple[Problem, ...]) -> web.Response:
    """Nothing was stored. `index` is the place of the message; 0 where one message was sent."""
    shown = [
        {"index": problem.index or 0, "field": problem.field, "reason": problem.reason}
        for problem in problems[:MAX_PROBLEMS]
    ]
    return _answer(400, {"error": "invalid", "detail": "nothing was stored", "problems": shown})


def _too_large() -> web.Response:
    response = _answer(
        413, {"error": "too_large", "detail": f"at most {MAX_REQUEST_BYTES} bytes: send fewer at a time"}
    )
    response.force_close()  # the rest of the body is not read
    return response


def _no_entry() -> web.Response:
    answer = {"error": "unauthorized", "detail": "Authorization: Bearer <AM_TOKEN> is missing or wrong"}
    response = _answer(401, answer, {"WWW-Authenticate": "Bearer"})
    response.force_close()  # the body was not read
    return response


def _answer(status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(content, status=status, headers={**_ALWAYS, **(headers or {})})
