"""One HTTP request as the application sees it, and the answers it may give. Guards A1-A4: what is odd is refused, not repaired.

Paths are compared as the client sent them: a second spelling of a path (`//`, `%2e`, another case) is another path.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope

from cdc.supervisor.settings import is_loopback

BODY_LIMIT_BYTES: Final = 64 << 10
BODY_SECONDS: Final = 10.0
MOST_HEADERS: Final = 100

_ONLY_ONCE: Final = (
    b"host",
    b"authorization",
    b"content-type",
    b"content-length",
    b"origin",
    b"if-match",
    b"x-csrf-token",
)
_ALWAYS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Refused(Exception):
    """The request ends here, with this status and one line."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = dict(headers or {})


def json_answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return raw_json(msgspec.json.encode(document), status, headers)


def raw_json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, {**_ALWAYS, **(headers or {})}, media_type="application/json")


def text_answer(body: bytes, media_type: str) -> Response:
    return Response(body, 200, _ALWAYS, media_type=media_type)


def html_answer(body: str, policy: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        body, status, {**_ALWAYS, "content-security-policy": policy, **(headers or {})}, media_type="text/html"
    )


def redirect_answer(where: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(b"", 303, {**_ALWAYS, "location": where, **(headers or {})})


def refusal(refused: Refused) -> Response:
    return json_answer({"error": refused.why}, refused.status, refused.headers)


class Exchange:
    """Raises Refused for a request that is malformed as a whole."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        self.query: str = scope["query_string"].decode("latin-1")
        client = scope.get("client")
        self.client: str = client[0] if client else "unknown"
        server = scope.get("server")
        self.port: int = server[1] if server else 0
        self._receive = receive
        self._headers: dict[bytes, bytes] = {}
        if len(scope["headers"]) > MOST_HEADERS:
            raise Refused(431, f"a request may have {MOST_HEADERS} headers", {"connection": "close"})
        for name, value in scope["headers"]:
            if name in self._headers and name in _ONLY_ONCE:
                raise Refused(400, f"the header {name.decode()} came twice")
            self._headers[name] = value

    def header(self, name: str) -> str:
        return self._headers.get(name.encode(), b"").decode("latin-1").strip()

    def cookie(self, name: str) -> str:
        try:
            found = SimpleCookie(self.header("cookie")).get(name)
        except CookieError:
            return ""
        return found.value if found else ""

    def bears(self, token: str) -> bool:
        """Whether the Authorization header holds this token; compared in constant time."""
        scheme, _, given = self.header("authorization").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())

    def check_host(self) -> None:
        """On a loopback address only a loopback name may be asked for: a page elsewhere cannot rebind its own name to here."""
        if not is_loopback(_host_name(self.header("host"))):
            raise Refused(421, "this address is asked for as 127.0.0.1, [::1] or localhost only")

    def check_origin(self) -> None:
        """A write that a browser sends comes from this very page or not at all."""
        if self.header("sec-fetch-site") not in {"", "same-origin", "none"}:
            raise Refused(403, "a page elsewhere may not write here")
        origin = self.header("origin")
        if origin and origin.partition("://")[2].lower() != self.header("host").lower():
            raise Refused(403, "a page elsewhere may not write here")

    def check_media_type(self, wanted: str) -> None:
        if self.header("content-type").partition(";")[0].strip().lower() != wanted:
            raise Refused(415, f"send {wanted}", {"accept": wanted})
        if self.header("content-encoding") not in {"", "identity"}:
            raise Refused(415, "send the body as it is, not compressed")

    async def body(self) -> bytes:
        """Read it all, at most 64 KiB within ten seconds. Raises Refused 413 or 408."""
        declared = self.header("content-length")
        if declared.isdigit() and int(declared) > BODY_LIMIT_BYTES:
            raise Refused(413, f"a body may have {BODY_LIMIT_BYTES} bytes")
        collected = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the client went away")
                    collected += message.get("body", b"")
                    if len(collected) > BODY_LIMIT_BYTES:
                        raise Refused(413, f"a body may have {BODY_LIMIT_BYTES} bytes")
                    if not message.get("more_body", False):
                        return bytes(collected)
        except TimeoutError:
            raise Refused(408, "the body did not come within ten seconds", {"connection": "close"}) from None

    async def form(self) -> dict[str, str]:
        self.check_media_type("application/x-www-form-urlencoded")
        try:
            fields = parse_qs((await self.body()).decode(), keep_blank_values=True, max_num_fields=20, errors="strict")
        except ValueError:
            raise Refused(400, "not a form") from None
        return {name: values[-1] for name, values in fields.items()}

    async def json(self, shape: type[Any]) -> Any:
        self.check_media_type("application/json")
        try:
            return msgspec.json.decode(await self.body(), type=shape)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Refused(400, str(error)) from None


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def path_tail(path: str, prefix: str) -> str | None:
    """The one segment after `prefix`, decoded; None where it is not exactly one, or not text."""
    tail = path.removeprefix(prefix)
    if tail == path or not tail or "/" in tail:
        return None
    try:
        name = unquote(tail, errors="strict")
    except UnicodeDecodeError:
        return None
    return None if "\0" in name else name
