"""Writes transforms/mysql_charsets.json from what MySQL and MariaDB themselves answer; refuses where the two differ.

    PYTHONPATH=. .venv/bin/python scripts/mysql_charsets.py

Starts private servers in a temporary folder. A character set is a string of 256 characters where each is a single byte (U+FFFE where
a byte is none), else Python's nearest codec and the runs of codes in which the servers differ from it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cdc.demo.servers import MariaDB, MySQL
from tests.charset_codes import UNICODE_SETS, ask_characters, character_sets, codes_of
from tests.servers import server_folder

TARGET = Path(__file__).parent.parent / "transforms/mysql_charsets.json"
NEAREST = {
    "big5": "big5", "cp932": "cp932", "eucjpms": "euc_jp", "euckr": "cp949", "gb18030": "gb18030", "gb2312": "gb2312",
    "gbk": "gbk", "sjis": "shift_jis", "ujis": "euc_jp",
}  # fmt: skip
NONE = "\ufffe"


def main() -> None:
    answers = {}
    with server_folder() as folder:
        for server in (MariaDB(folder / "a", server_id=1).start(), MySQL(folder / "b", server_id=2).start()):
            try:
                with server.connect() as connection, connection.cursor() as cursor:
                    cursor.execute("CREATE DATABASE codes")
                    cursor.execute("USE codes")
                    for charset, longest in character_sets(cursor).items():
                        if charset in UNICODE_SETS:
                            continue
                        found = ask_characters(cursor, charset, list(codes_of(charset, longest)))
                        told = {code: character for code, character in found.items() if character is not None}
                        if answers.setdefault(charset, told) != told:
                            sys.exit(f"{charset}: the two servers differ")
            finally:
                server.kill()
    lines = []
    for charset, found in sorted(answers.items()):
        if max(map(len, found)) > 1:
            codec = NEAREST[charset]
            entry: object = {"codec": codec, "runs": _runs(_differences(found, codec, charset))}
        else:
            entry = "".join(found.get(bytes([b]), NONE) for b in range(256))
        lines.append(f'"{charset}": {json.dumps(entry)}')
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _differences(found: dict[bytes, str], codec: str, charset: str) -> dict[bytes, str]:
    longest = max(map(len, found))
    differences = {}
    for code in codes_of(charset, longest):
        try:
            usual: str | None = code.decode(codec)
        except UnicodeDecodeError:
            usual = None
        if usual is not None and len(usual) > 1:
            continue  # characters of fewer bytes
        if usual != found.get(code):
            differences[code] = found.get(code, NONE)
    return differences


def _runs(differences: dict[bytes, str]) -> list[tuple[str, str, int]]:
    """(first code in hexadecimal digits, first character, how many): codes and characters that count up together, or all none."""
    runs: list[tuple[bytes, str, int]] = []
    for code, character in sorted(differences.items(), key=lambda item: (len(item[0]), item[0])):
        if runs:
            first, start, count = runs[-1]
            step = 0 if start == NONE else count
            if (
                len(first) == len(code)
                and _number(code) == _number(first) + count
                and ord(character) == ord(start) + step
            ):
                runs[-1] = (first, start, count + 1)
                continue
        runs.append((code, character, 1))
    return [(first.hex(), start, count) for first, start, count in runs]


def _number(code: bytes) -> int:
    return int.from_bytes(code, "big")


if __name__ == "__main__":
    main()
