"""Reads one large transaction in a process of its own and prints how its memory grew: `python -m tests.reading_memory URL TABLE POSITION`.

Prints one JSON object: rows, parts, and the growth of the peak of its memory in MiB while it read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cdc.addresses import address_of
from cdc.model import Position
from cdc.readers import ReaderOptions, Wanted
from cdc.readers.mysql import MySQLReader
from config.models import ChannelConfig


def main(url: str, table: str, order: str, native: str) -> None:
    address = address_of(ChannelConfig.model_validate({"url": url}))
    wanted = Wanted("house", "shop", {(address.database, table): frozenset({"id", "v"})})
    reader = MySQLReader(address, wanted, ReaderOptions(server_id=88_888))
    reader.open(Position(int(order), native))
    rows = parts = 0
    before = _peak()
    last = False
    while not last:
        for part in reader.read(1.0).parts:
            parts += 1
            assert part.rows[0].after is not None and part.rows[0].after[0] == rows
            rows += len(part.rows)
            last = part.last
    reader.close()
    print(
        json.dumps({"rows": rows, "parts": parts, "grown_mib": (_peak() - before) / 1024, "peak_mib": _peak() / 1024})
    )


def _peak() -> int:
    """Of this program alone: getrusage's peak would be that of the test that started it, if that was higher."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
