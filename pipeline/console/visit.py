"""One request of a person: who it is, what may be read and written in whose name, and how to answer.

Every route says who may use it by the type of its first parameter, and is refused at start without:

    Anybody (no sign-in), Everybody (any role), Agent, Staff (operator, supervisor), Supervisor

Proven, ProvenAgent, ProvenStaff, ProvenSupervisor are for what moves money or opens doors and can hardly be undone: the person has
signed in, or given a code or the password again, within FRESH_S.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from pipeline.console import cookies
from pipeline.console.caller import Caller, caller_of, host_of
from pipeline.console.desk import Desk
from pipeline.console.problems import Forbidden, Forged, NoSession, NotProven
from pipeline.console.rendering import Renderer
from pipeline.console.tokens import Flash, Tone, csrf_token, read_flash, same, write_flash
from pipeline.operations_sign_in import Session
from pipeline.operations_users import Role
from pipeline.secret import Secret
from pipeline.store.engine import Presence, Transaction, present

T = TypeVar("T")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
BACKGROUND = "x-background"  # set by our script when a page updates itself


class Visit:
    """A request with its session; handlers read, write and answer through it."""

    def __init__(self, request: Request, desk: Desk, caller: Caller, cookie: Secret, session: Session | None) -> None:
        self.request, self.desk, self.caller = request, desk, caller
        self.unfinished = session  # also while its code is missing
        self._cookie = cookie  # the session's, or a visitor's who has none
        self.csrf = csrf_token(cookie)

    @property
    def session(self) -> Session | None:
        """None until every step of signing in is done."""
        return self.unfinished if self.unfinished is not None and self.unfinished.stage == "full" else None

    @property
    def who(self) -> Session:
        """Who is signed in. Raises NoSession."""
        if self.session is None:
            raise NoSession
        return self.session

    @property
    def actor(self) -> str:
        """For operations: `human:NAME`."""
        return self.who.actor

    @property
    def agent(self) -> str | None:
        """The only agent whose orders may be seen; None for staff, who see all."""
        return self.who.agent if self.who.role is Role.AGENT else None

    @property
    def presence(self) -> Presence:
        return Presence(self.session.role.value if self.session else "system", self.caller.address)

    def read(self, work: Callable[[Transaction], T]) -> T:
        return self.desk.store.read(work)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """One transaction in this person's name; what it writes to the audit log says in which role and from where."""
        return self.desk.store.write(present(self.presence, work)).value

    def show(self, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """A page of `templates/`. A message left by `go` is shown on it, once."""
        renderer: Renderer = self.request.app.state.renderer
        held = cookies.held(self.request, cookies.FLASH, self.caller)
        flash = None if held is None else read_flash(self._cookie, held)
        content = renderer.render(template, visit=self, flash=flash, **context)
        response = HTMLResponse(content, status_code=status)
        if held is not None:
            cookies.drop(response, cookies.FLASH, self.caller)
        if self.unfinished is None:
            cookies.put(response, cookies.VISITOR, self._cookie, self.caller)
        return response

    def go(self, path: str, text: str = "", tone: Tone = "done") -> Response:
        """Answer a form: the browser gets `path` next, with a message."""
        response = RedirectResponse(path, status_code=303)
        if text:
            cookies.put(response, cookies.FLASH, write_flash(self._cookie, Flash(tone, text)), self.caller)
        return response

    def begin(self, session: Session, path: str) -> Response:
        """A new session: its cookie, and on to `path`."""
        response = RedirectResponse(path, status_code=303)
        cookies.put(response, cookies.SESSION, session.token, self.caller)
        cookies.drop(response, cookies.VISITOR, self.caller)
        return response

    def end(self, path: str) -> Response:
        """Signed out: the browser forgets what it kept of this site's pages too."""
        response = RedirectResponse(path, status_code=303)
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        cookies.drop(response, cookies.SESSION, self.caller)
        return response


def place_of(scope: Scope) -> str:
    """The route as it is written, for logs: an address as it was sent may hold a one-time link, and any character."""
    return getattr(scope.get("route"), "path", "")


class May:
    """Who may use a route; checks the session, then that an unsafe request came from our own pages, then the role."""

    def __init__(self, *roles: Role, proven: bool = False) -> None:
        self.roles = frozenset(roles)  # none: no sign-in is needed
        self.proven = proven  # not long ago

    async def __call__(self, request: Request) -> Visit:
        visit = await visit_of(request)
        request.state.visit = visit  # for the log, should it be refused
        if self.roles and visit.session is None:
            raise NoSession
        if request.method not in SAFE:
            await _refuse_forged(request, visit)
        if self.roles and visit.who.role not in self.roles:
            raise Forbidden
        if self.proven and not visit.who.fresh:
            raise NotProven
        return visit


async def visit_of(request: Request) -> Visit:
    """The visit without any check: for pages that show an error to whoever comes."""
    desk: Desk = request.app.state.desk
    caller = caller_of(request, desk.settings.console_proxies)
    held = cookies.held(request, cookies.SESSION, caller)
    background = BACKGROUND in request.headers
    session = None
    if held:
        session = await run_in_threadpool(lambda: desk.sign_in.find(Secret(held), background=background))
    if session is not None:
        return Visit(request, desk, caller, session.token, session)
    visitor = cookies.held(request, cookies.VISITOR, caller) or secrets.token_urlsafe(32)
    return Visit(request, desk, caller, Secret(visitor), None)


async def _refuse_forged(request: Request, visit: Visit) -> None:
    """Both the browser's word for where it comes from, where it gives one, and the token of this session's own pages."""
    origin = request.headers.get("origin")
    if origin is not None and host_of(origin) != request.headers.get("host"):
        raise Forged
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forged
    given = request.headers.get("x-csrf-token", "")
    if not given and request.headers.get("content-type", "").startswith(FORMS):
        field = (await request.form()).get("csrf")
        given = field if isinstance(field, str) else ""
    if not same(given, visit.csrf):
        raise Forged


Anybody = Annotated[Visit, Depends(May())]
Everybody = Annotated[Visit, Depends(May(Role.AGENT, Role.OPERATOR, Role.SUPERVISOR))]
Agent = Annotated[Visit, Depends(May(Role.AGENT))]
Staff = Annotated[Visit, Depends(May(Role.OPERATOR, Role.SUPERVISOR))]
Supervisor = Annotated[Visit, Depends(May(Role.SUPERVISOR))]
Proven = Annotated[Visit, Depends(May(Role.AGENT, Role.OPERATOR, Role.SUPERVISOR, proven=True))]
ProvenAgent = Annotated[Visit, Depends(May(Role.AGENT, proven=True))]
ProvenStaff = Annotated[Visit, Depends(May(Role.OPERATOR, Role.SUPERVISOR, proven=True))]
ProvenSupervisor = Annotated[Visit, Depends(May(Role.SUPERVISOR, proven=True))]


def may_of(route: APIRoute) -> May:
    """Who may use this route. Raises ValueError where nothing says so."""
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, May):
            return dependency.call
    raise ValueError(
        f"{route.path}: the route does not say who may use it (Anybody, Everybody, Agent, Staff, Supervisor)"
    )
