"""XA transactions: their rows stand in the log at XA PREPARE, but count only at XA COMMIT, and not at all at XA ROLLBACK (TRAPS.md W8).

What is held between the two is the place of the prepared transaction, and its name; both stand in every position meanwhile. So positions may
go on (I7: what is still needed of the log is named in them), a restart of ours or of the server changes nothing, and memory is bounded (I8):
at XA COMMIT the rows are read again from their place. The rows of small ones are kept as well, as a cache, so that the usual case needs
no second reading. The change has the order of XA COMMIT.

A prepared transaction without rows of wanted tables is passed over at its XA COMMIT, unless the reader was opened anew in between: then other
tables may be wanted, and it is read again as well. A name that comes to XA COMMIT and was never prepared before our eyes
(it was when we came) is looked for in the latest log files; not found, it is a reason to halt, never to pass over rows that we do not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from cdc.errors import HaltError
from cdc.readers.mysql_errors import RESYNC
from cdc.readers.mysql_parts import OpenTransaction
from cdc.readers.mysql_position import Prepared

_LIMIT: Final = 1000
_CACHED_BYTES: Final = 4 << 20
_CACHED_ROWS: Final = 10_000
_XID: Final = re.compile(r"X'([0-9a-f]*)'\s*,\s*X'([0-9a-f]*)'\s*,\s*(\d+)", re.IGNORECASE)


def xid_of(statement: str) -> str:
    """The name in `XA COMMIT X'61',X'',1`. Raises ValueError."""
    match = _XID.search(statement)
    if match is None:
        raise ValueError("an XA statement without a name")
    return f"X'{match[1].lower()}',X'{match[2].lower()}',{match[3]}"


class PreparedTransactions:
    """Those that are prepared and not decided, by name."""

    def __init__(self, known: Iterable[Prepared]) -> None:
        self._places = {prepared.xid: prepared for prepared in known}
        self._cached: dict[str, OpenTransaction] = {}
        self._encoder = msgspec.json.Encoder()

    @property
    def text(self) -> str:
        """As a position holds it: JSON."""
        return self._encoder.encode(list(self._places.values())).decode() if self._places else ""

    def hold(self, prepared: Prepared, rows: OpenTransaction | None, where: str) -> None:
        """Raises HaltError XA_TOO_MANY. A name that is prepared again was not prepared any more."""
        self.forget(prepared.xid)
        if len(self._places) >= _LIMIT:
            raise HaltError(
                "XA_TOO_MANY",
                f"more than {_LIMIT} XA transactions are prepared and not decided at {where}",
                f"XA RECOVER shows them: commit or roll them back; then {RESYNC}",
            )
        self._places[prepared.xid] = prepared
        if rows is not None:
            sizes = [rows.size, *(kept.size for kept in self._cached.values())]
            counts = [rows.next, *(kept.next for kept in self._cached.values())]
            if sum(sizes) <= _CACHED_BYTES and sum(counts) <= _CACHED_ROWS:
                self._cached[prepared.xid] = rows

    def find(self, xid: str, where: str, look_back: Callable[[str], Prepared | None]) -> Prepared:
        """Raises HaltError XA_UNKNOWN. `look_back`: where the log has a transaction that was prepared before we came."""
        found = self._places.get(xid) or look_back(xid)
        if found is None:
            raise HaltError(
                "XA_UNKNOWN",
                f"an XA transaction commits at {where} that was prepared long before this log was first read; its rows are not known",
                RESYNC,
            )
        return found

    def cached(self, xid: str) -> OpenTransaction | None:
        return self._cached.get(xid)

    def forget(self, xid: str) -> None:
        self._places.pop(xid, None)
        self._cached.pop(xid, None)
