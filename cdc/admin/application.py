"""The ASGI application: who may ask what. Host, then token, then path, then method, then the body; each refusal is one line.

Everything but `/healthz` and `/readyz`, spelt exactly so, is 401 without the token: what exists here is not told to strangers.
With no token configured the server listens on loopback only, and everything from there is open (INTERFACE.md section 3).
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cdc.admin import page
from cdc.admin.board import Board
from cdc.admin.exchange import (
    Exchange,
    Refused,
    html_answer,
    json_answer,
    path_tail,
    raw_json,
    redirect_answer,
    refusal,
    text_answer,
)
from cdc.admin.lookups import Lookups
from cdc.admin.sessions import Session, Sessions
from cdc.admin.writes import Writes
from cdc.supervisor.settings import is_loopback

log = structlog.get_logger("datong.admin")

_METRICS_TYPE: Final = "text/plain; version=0.0.4"
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: named in the audit trail. `session` is None for a bearer token and for loopback without a token."""

    name: str
    session: Session | None = None


Answer: TypeAlias = Callable[[Exchange, Caller], Awaitable[Response]]


class Toggle(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool


class Application:
    def __init__(self, board: Board, listens_on: str) -> None:
        self._board = board
        self._on_loopback = is_loopback(listens_on)
        self._sessions = Sessions()
        self._everyone = Session(
            ends_at=float("inf")
        )  # of the page on loopback without a token: carries its CSRF token
        self._writes = Writes(board)
        self._lookups = Lookups(board)
        self._routes: dict[str, dict[str, Answer]] = {
            "/": {"GET": self._page},
            "/metrics": {"GET": self._metrics},
            "/api/status": {"GET": self._status},
            "/api/mappings": {"GET": self._mappings},
            "/api/identities": {"GET": self._identities},
            "/page/content": {"GET": self._content},
            "/page/toggle": {"POST": self._toggle_form},
            "/page/pause": {"POST": self._pause_form},
            "/logout": {"POST": self._logout},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            response = await self._answer(Exchange(scope, receive))
        except Refused as refused:
            response = refusal(refused)
        await response(scope, receive, send)

    async def _answer(self, exchange: Exchange) -> Response:
        if self._on_loopback:
            exchange.check_host()
        open_to_all = self._open_answer(exchange)
        if open_to_all is not None:
            return open_to_all
        if exchange.path == "/login" and exchange.method == "POST":
            return await self._login(exchange)
        caller = self._caller(exchange)
        if caller is None:
            return self._unauthorized(exchange)
        return await self._routed(exchange, caller)

    # -- who

    def _open_answer(self, exchange: Exchange) -> Response | None:
        if exchange.path == "/healthz":
            lives = self._board.supervisor_lives
            answer = json_answer({"status": "ok" if lives else "down"}, 200 if lives else 503)
        elif exchange.path == "/readyz":
            status, body = self._board.ready()
            answer = raw_json(body, status)
        elif exchange.path == "/metrics" and self._board.snapshot.access.public_metrics:
            answer = text_answer(self._board.metrics(), _METRICS_TYPE)
        else:
            return None
        return answer if exchange.method in {"GET", "HEAD"} else _other_method(exchange, ("GET",))

    def _caller(self, exchange: Exchange) -> Caller | None:
        token = self._board.snapshot.access.token
        if not token:
            # config refuses to listen elsewhere without a token; this is the second lock on that door
            return Caller(f"loopback {exchange.client}", self._everyone) if self._on_loopback else None
        if exchange.bears(token):
            return Caller(f"token from {exchange.client}")
        session = self._sessions.find(exchange.cookie(_cookie_name(exchange)), token)
        return Caller(f"page from {exchange.client}", session) if session else None

    def _unauthorized(self, exchange: Exchange) -> Response:
        headers = {"www-authenticate": 'Bearer realm="datong"'}
        if exchange.path == "/" and exchange.method in {"GET", "HEAD"}:
            return html_answer(page.login(page.language_of(exchange), failed=False), page.POLICY, 401, headers)
        return json_answer({"error": "the token is missing or wrong"}, 401, headers)

    async def _login(self, exchange: Exchange) -> Response:
        exchange.check_origin()
        token = self._board.snapshot.access.token
        given = (await exchange.form()).get("token", "").strip()
        if not token or not hmac.compare_digest(given.encode(), token.encode()):
            log.warning("admin.login_refused", client=exchange.client)
            return html_answer(page.login(page.language_of(exchange), failed=True), page.POLICY, 401)
        cookie = (
            f"{_cookie_name(exchange)}={self._sessions.open(token)}; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"
        )
        log.info("admin.logged_in", client=exchange.client)
        return redirect_answer("/", {"set-cookie": cookie})

    async def _logout(self, exchange: Exchange, caller: Caller) -> Response:
        await self._form_of_ours(exchange, caller)
        name = _cookie_name(exchange)
        self._sessions.close(exchange.cookie(name))
        return redirect_answer("/", {"set-cookie": f"{name}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"})

    # -- what

    async def _routed(self, exchange: Exchange, caller: Caller) -> Response:
        methods = self._routes.get(exchange.path)
        if methods is None and path_tail(exchange.path, "/api/mappings/") in self._board.snapshot.status["mappings"]:
            methods = {"PATCH": self._patch_mapping}
        if methods is None:
            methods = self._channel_route(exchange.path)
        if methods is None:
            raise Refused(404, "there is nothing here")
        method = "GET" if exchange.method == "HEAD" else exchange.method
        answer = methods.get(method)
        if answer is None:
            return _other_method(exchange, tuple(methods))
        if method in _WRITES:
            exchange.check_origin()
        return await answer(exchange, caller)

    def _channel_route(self, path: str) -> dict[str, Answer] | None:
        head, _, verb = path.rpartition("/")
        known = path_tail(head, "/api/channels/") in self._board.snapshot.status["channels"]
        return {"POST": self._pause} if known and verb in {"pause", "resume"} else None

    async def _metrics(self, _exchange: Exchange, _caller: Caller) -> Response:
        return text_answer(self._board.metrics(), _METRICS_TYPE)

    async def _status(self, _exchange: Exchange, _caller: Caller) -> Response:
        return raw_json(self._board.status())

    async def _mappings(self, _exchange: Exchange, _caller: Caller) -> Response:
        etag = await self._writes.etag()
        return json_answer({"mappings": self._board.snapshot.status["mappings"]}, headers={"etag": f'"{etag}"'})

    async def _identities(self, exchange: Exchange, caller: Caller) -> Response:
        """`?phone=...&openid=...`: who has all of these; `?key=...`: as `datong identity show`; `reveal=1` is audited."""
        people = await self._lookups.identities(exchange.query, caller.name)
        return json_answer({"identities": people})

    async def _patch_mapping(self, exchange: Exchange, caller: Caller) -> Response:
        wanted: Toggle = await exchange.json(Toggle)
        self._check_script(exchange, caller)
        name = path_tail(exchange.path, "/api/mappings/") or ""
        etag = await self._writes.toggle(name, wanted.enabled, caller.name, exchange.header("if-match"))
        line = self._board.snapshot.status["mappings"].get(name, {}) | {"enabled": wanted.enabled}
        warning = {"warning": page.ENABLED_WARNING} if wanted.enabled else {}
        return json_answer({"name": name, **line, **warning}, headers={"etag": f'"{etag}"'})

    async def _pause(self, exchange: Exchange, caller: Caller) -> Response:
        """Body `{"role": "capture" | "apply"}`, or `{}` for both."""
        wanted: RoleChoice = await exchange.json(RoleChoice)
        self._check_script(exchange, caller)
        head, _, verb = exchange.path.rpartition("/")
        channel = path_tail(head, "/api/channels/") or ""
        roles = [wanted.role] if wanted.role else ["capture", "apply"]
        await self._writes.pause(channel, roles, verb == "pause", caller.name)
        return json_answer({"channel": channel, "roles": roles, "paused": verb == "pause"})

    def _check_script(self, exchange: Exchange, caller: Caller) -> None:
        """A cookie comes by itself, so a script of the page has to show its CSRF token too; a bearer token does not come by itself."""
        if caller.session is None or caller.session is self._everyone:
            return
        if not caller.session.vouches_for(exchange.header("x-csrf-token")):
            raise Refused(403, "the header x-csrf-token is missing or wrong")

    # -- the page

    def _session(self, caller: Caller) -> Session:
        return caller.session or self._everyone

    async def _page(self, exchange: Exchange, caller: Caller) -> Response:
        view = page.View(self._board, self._session(caller).csrf, page.language_of(exchange))
        body = page.whole(view, logged_in=caller.session not in {None, self._everyone})
        headers = {"vary": "accept-language, cookie"}
        if chosen := page.chosen_language(exchange):
            headers["set-cookie"] = f"datong_language={chosen}; SameSite=Strict; Path=/; Max-Age=31536000"
        return html_answer(body, page.POLICY, headers=headers)

    async def _content(self, exchange: Exchange, caller: Caller) -> Response:
        view = page.View(self._board, self._session(caller).csrf, page.language_of(exchange))
        return html_answer(page.content(view), page.POLICY)

    async def _form_of_ours(self, exchange: Exchange, caller: Caller) -> dict[str, str]:
        form = await exchange.form()
        if not self._session(caller).vouches_for(form.get("csrf", "")):
            raise Refused(403, "this form is out of date: load the page again")
        return form

    async def _toggle_form(self, exchange: Exchange, caller: Caller) -> Response:
        form = await self._form_of_ours(exchange, caller)
        name = form.get("mapping", "")
        if name not in self._board.snapshot.status["mappings"]:
            raise Refused(404, "there is no such mapping")
        await self._writes.toggle(name, form.get("enabled") == "true", caller.name, "")
        return redirect_answer("/")

    async def _pause_form(self, exchange: Exchange, caller: Caller) -> Response:
        form = await self._form_of_ours(exchange, caller)
        channel, role = form.get("channel", ""), form.get("role", "")
        if channel not in self._board.snapshot.status["channels"] or role not in {"capture", "apply"}:
            raise Refused(404, "there is no such role")
        await self._writes.pause(channel, [role], form.get("paused") == "true", caller.name)
        return redirect_answer("/")


class RoleChoice(msgspec.Struct, forbid_unknown_fields=True):
    role: str | None = None

    def __post_init__(self) -> None:
        if self.role not in {None, "capture", "apply"}:
            raise ValueError("role is capture or apply")


def _other_method(exchange: Exchange, allowed: tuple[str, ...]) -> Response:
    allow = ", ".join(sorted({*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"}))
    if exchange.method == "OPTIONS":
        return Response(b"", 204, {"allow": allow})
    raise Refused(405, f"allowed here: {allow}", {"allow": allow})


def _cookie_name(exchange: Exchange) -> str:
    return f"datong_session_{exchange.port}"  # cookies do not tell ports apart
