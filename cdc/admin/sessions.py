"""Who is logged in on the page: random session ids, kept in memory, bounded in time and number. Never holds the token (I9)."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LIFETIME_SECONDS: Final = 12 * 3600
MOST_SESSIONS: Final = 200


@dataclass(frozen=True, slots=True)
class Session:
    """`csrf` has to come with every form of this session."""

    ends_at: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def vouches_for(self, csrf: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), csrf.encode(errors="replace"))


class Sessions:
    """Sessions belong to one token: another token ends them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._token: str | None = None
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, token: str | None) -> str:
        """Answer a new session's id."""
        self._belong_to(token)
        ident = secrets.token_urlsafe(32)
        self._sessions[ident] = Session(self._clock() + LIFETIME_SECONDS)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return ident

    def find(self, ident: str, token: str | None) -> Session | None:
        self._belong_to(token)
        session = self._sessions.get(ident)
        if session is not None and session.ends_at < self._clock():
            self.close(ident)
            return None
        return session

    def close(self, ident: str) -> None:
        self._sessions.pop(ident, None)

    def _belong_to(self, token: str | None) -> None:
        if token != self._token:
            self._sessions.clear()
            self._token = token
