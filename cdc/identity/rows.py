"""Reading and writing the identity tables in bulk: one statement for many rows, in either database's own words. No decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cdc.identity.deciding import Link, Owned

MOST_KEYS: Final = 500
_LINK: Final = (
    "l.digest, l.person, COALESCE(p.merged_into, l.person), l.live, l.at_order, l.at_row, l.claims, l.channel, l.yields"
)
_DIGEST: Final = 16


class Standing(NamedTuple):
    """A row's link as it is kept; `claims`: the digests that it showed last, one after another; `yields`: names of fields, by spaces."""

    person: int
    live: bool
    at_order: int
    at_row: int
    claims: bytes
    yields: str


class Rows:
    """Statements over one connection. `deployment` is part of every digest, so those need not say it again."""

    def __init__(self, connection: sa.Connection, deployment: str, *, is_sqlite: bool) -> None:
        self._connection = connection
        self._deployment = deployment
        self._is_sqlite = is_sqlite

    # -- reading

    def links(self, digests: Sequence[bytes]) -> dict[bytes, Link]:
        """Rows' links by digest; a merged person's canonical one with it."""
        sql = (
            f"SELECT {_LINK} FROM datong_identity_link l"
            " JOIN datong_person p ON p.deployment = l.deployment AND p.id = l.person WHERE l.digest "
        )
        return {bytes(row[0]): _link(row) for row in self._among(sql, digests)}

    def standing(self, digests: Sequence[bytes]) -> dict[bytes, Standing]:
        """As `links`, of rows as they stand, without who their people are after merges: what a batch of known rows asks for."""
        sql = "SELECT digest, person, live, at_order, at_row, claims, yields FROM datong_identity_link WHERE digest "
        return {bytes(row[0]): Standing(*row[1:]) for row in self._among(sql, digests)}

    def owners(self, digests: Sequence[bytes]) -> dict[bytes, Owned]:
        sql = "SELECT digest, person, field, scope, rows, blocked FROM datong_identifier WHERE digest "
        return {
            bytes(digest): Owned(person, field, scope, rows, bool(blocked))
            for digest, person, field, scope, rows, blocked in self._among(sql, digests)
        }

    def channels(self, people: Sequence[int]) -> Iterator[tuple[int, str]]:
        """The channels in which people have a living row, by person."""
        sql = f"SELECT person, channel FROM datong_identity_link WHERE {self._mine} AND live AND person "
        return ((row[0], row[1]) for row in self._among(sql, people, self._deployment))

    def identifiers(self, people: Sequence[int]) -> Iterator[tuple[int, str, str, bytes, bytes]]:
        """(person, field, scope, digest, sealed value), blocked ones left out."""
        sql = f"SELECT person, field, scope, digest, value FROM datong_identifier WHERE {self._mine} AND NOT blocked AND person "
        return ((r[0], r[1], r[2], bytes(r[3]), bytes(r[4])) for r in self._among(sql, people, self._deployment))

    def rows_of(
        self, people: Sequence[int], channel: str | None = None
    ) -> Iterator[tuple[int, str, bytes, bytes, bool]]:
        """(person, channel, digest, sealed local key, live) of people's rows, in one channel or in all."""
        where = self._mine
        first: tuple[str, ...] = (self._deployment,)
        if channel is not None:
            where, first = f"{where} AND live AND channel = {self._mark}", (self._deployment, channel)
        sql = f"SELECT person, channel, digest, value, live FROM datong_identity_link WHERE {where} AND person "
        return ((r[0], r[1], bytes(r[2]), bytes(r[3]), bool(r[4])) for r in self._among(sql, people, *first))

    def merged(self, people: Sequence[int]) -> dict[int, int]:
        """Whom people were merged into; those who were not are left out."""
        sql = f"SELECT id, merged_into FROM datong_person WHERE {self._mine} AND merged_into IS NOT NULL AND id "
        return {row[0]: row[1] for row in self._among(sql, people, self._deployment)}

    def told(self, people: Sequence[int]) -> Iterator[tuple[int, frozenset[str]]]:
        """The fields that have been told of people; those of whom nothing was are left out."""
        sql = f"SELECT id, told FROM datong_person WHERE {self._mine} AND told <> '' AND id "
        return ((row[0], frozenset(row[1].split())) for row in self._among(sql, people, self._deployment))

    def last_person(self) -> int:
        """The last OneID that was given out."""
        row = self.one("SELECT last_person FROM datong_identity_state WHERE deployment = ?", self._deployment)
        return int(row[0])

    def known(self, people: Sequence[int]) -> set[int]:
        """Which of these people there are: all but those who were forgotten."""
        sql = f"SELECT id FROM datong_person WHERE {self._mine} AND id "
        return {row[0] for row in self._among(sql, people, self._deployment)}

    def joined(self, people: Sequence[int]) -> dict[int, int]:
        """Whom people were merged into, where their rows went along."""
        sql = f"SELECT id, merged_into FROM datong_person WHERE {self._mine} AND merged_into IS NOT NULL AND joined AND id "
        return {row[0]: row[1] for row in self._among(sql, people, self._deployment)}

    def merged_from(self, people: Sequence[int]) -> Iterator[tuple[int, int]]:
        """(gone, kept): whoever was merged into these people."""
        sql = f"SELECT id, merged_into FROM datong_person WHERE {self._mine} AND merged_into "
        return ((row[0], row[1]) for row in self._among(sql, people, self._deployment))

    def entity_of(self, person: int) -> str | None:
        row = self.one("SELECT entity FROM datong_person WHERE deployment = ? AND id = ?", self._deployment, person)
        return None if row is None else str(row[0])

    def tombstones(self, digests: Sequence[bytes], channel: str) -> dict[bytes, int]:
        sql = f"SELECT digest, at_order FROM datong_identity_tombstone WHERE channel = {self._mark} AND digest "
        return {bytes(row[0]): row[1] for row in self._among(sql, digests, channel)}

    def pasts(self, digests: Sequence[bytes]) -> dict[bytes, list[tuple[tuple[int, int], int]]]:
        """Whose rows were before: (until and with which place, person), in order."""
        found: dict[bytes, list[tuple[tuple[int, int], int]]] = {}
        sql = "SELECT digest, until_order, until_row, person FROM datong_identity_past WHERE digest "
        for digest, order, row, person in self._among(sql, digests):
            found.setdefault(bytes(digest), []).append(((order, row), person))
        return {digest: sorted(spans) for digest, spans in found.items()}

    def has_tombstones(self) -> bool:
        sql = f"SELECT 1 FROM datong_identity_tombstone WHERE {self._mine} LIMIT 1"
        return self.one(sql, self._deployment) is not None

    def one(self, sql: str, *parameters: object) -> Any:
        """The first row of a statement that has `?` for its parameters."""
        return self._connection.exec_driver_sql(self._marked(sql), parameters).first()

    def all(self, sql: str, *parameters: object) -> list[Any]:
        """All rows of a statement that has `?` for its parameters."""
        return list(self._connection.exec_driver_sql(self._marked(sql), parameters).fetchall())

    # -- writing

    def many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run a statement with `?` parameters for each of these rows."""
        listed = list(rows)
        if listed:
            self._connection.exec_driver_sql(self._marked(sql), listed)

    def write_links(self, rows: Iterable[tuple[bytes, Link, bytes]]) -> None:
        """(digest, link, sealed local key). Rows that are gone come first: another may be the one living row now."""
        self.many(
            "INSERT INTO datong_identity_link (digest, deployment, person, channel, live, at_order, at_row, claims, yields, value)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET person = excluded.person,"
            " live = excluded.live, at_order = excluded.at_order, at_row = excluded.at_row, claims = excluded.claims,"
            " yields = excluded.yields",
            [
                (
                    digest,
                    self._deployment,
                    link.person,
                    link.channel,
                    link.live,
                    *link.at,
                    b"".join(link.claims),
                    " ".join(sorted(link.yields)),
                    value,
                )
                for digest, link, value in sorted(rows, key=lambda row: row[1].live)
            ],
        )

    def write_pasts(self, channel: str, pasts: Iterable[tuple[bytes, tuple[int, int], int]]) -> None:
        """(digest, the last place, whose row it was)."""
        self.many(
            "INSERT INTO datong_identity_past (digest, until_order, until_row, deployment, channel, person)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(digest, *until, self._deployment, channel, person) for digest, until, person in pasts],
        )

    def write_owners(self, rows: Iterable[tuple[bytes, Owned, bytes]]) -> None:
        """(digest, owner, sealed value)."""
        self.many(
            "INSERT INTO datong_identifier (digest, deployment, person, field, scope, rows, blocked, value)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET person = excluded.person,"
            " rows = excluded.rows, blocked = excluded.blocked",
            [
                (digest, self._deployment, owned.person, owned.field, owned.scope, owned.rows, owned.blocked, value)
                for digest, owned, value in rows
            ],
        )

    # -- plumbing

    @property
    def _mark(self) -> str:
        return "?" if self._is_sqlite else "%s"

    @property
    def _mine(self) -> str:
        return f"deployment = {self._mark}"

    def _marked(self, sql: str) -> str:
        return sql if self._is_sqlite else sql.replace("?", "%s")

    def _among(self, sql: str, keys: Sequence[object], *first: object) -> Iterator[Any]:
        """The rows whose last column is among `keys`; `first` are the parameters before those."""
        if not self._is_sqlite:
            if keys:
                yield from self._fetched(f"{sql} = ANY(%s)", (*first, list(keys)))
            return
        remaining = iter(keys)
        while chunk := list(islice(remaining, MOST_KEYS)):
            yield from self._fetched(f"{sql} IN ({','.join('?' * len(chunk))})", (*first, *chunk))

    def _fetched(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        """The driver's own tuples: the library's rows cost more than reading them."""
        result = self._connection.exec_driver_sql(sql, parameters)
        rows = list(result.cursor.fetchall())
        result.close()
        return rows


def _link(row: Any) -> Link:
    claims = bytes(row[6])
    digests = tuple(claims[at : at + _DIGEST] for at in range(0, len(claims), _DIGEST))
    return Link(row[1], row[2], bool(row[3]), (row[4], row[5]), digests, row[7], frozenset(row[8].split()))
