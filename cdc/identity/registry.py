"""Identities in the hub store: opening it, loading what a batch is decided by, keeping what was decided. Guards I1, I9.

Truth is here. Whatever changes who somebody is runs in one transaction under one lock (SQLite: the write lock; PostgreSQL: an
advisory one), so there is one winner among any number of processes; unique constraints stand behind it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from cdc.errors import HaltError
from cdc.hub_database import HubDatabase, StoreRefusedError
from cdc.identity import tables
from cdc.identity.deciding import View
from cdc.identity.rows import Rows
from cdc.identity.sealing import Seal
from cdc.identity.words import LocalKey, OneID

pack_local = msgspec.json.Encoder().encode
unpack_local = msgspec.json.Decoder(tuple[None | bool | int | float | str, ...]).decode
FIRST_PERSON: Final = 1
_MOVE: Final = b"move"  # what a sealed key of `datong_identity_move` is bound to
PAGE_CACHE_MIB: Final = 64  # digests stand in no order: every batch touches pages all over the file


@dataclass(frozen=True, slots=True)
class Generation:
    """A state of who is who: a cache entry of another generation is not used. `number` grows with merges, splits, forgettings."""

    incarnation: str
    number: int

    def __str__(self) -> str:
        return f"{self.incarnation}.{self.number}"


class Registry:
    """One process's access to the identities of a deployment. Raises TransientError where the hub store is away."""

    def __init__(self, url: str, deployment: str, key: str | None) -> None:
        self.deployment: Final = deployment
        self.seal: Final = Seal(deployment, key)
        self._database = HubDatabase(url, page_cache_mib=PAGE_CACHE_MIB)

    def open(self) -> None:
        """Create what is missing, for all deployments in there. Raises StoreRefusedError (a newer version wrote it), HaltError (another store.key)."""
        mine = tables.state.c.deployment == self.deployment
        with self._database.exclusive(tables.IDENTITY_LOCK) as connection:
            tables.metadata.create_all(connection, checkfirst=True)
            row = connection.execute(sa.select(tables.state).where(mine)).first()
            if row is not None and row.schema_version > tables.SCHEMA_VERSION:
                raise StoreRefusedError(
                    f"store: its identities were written by a newer version (schema {row.schema_version}, this one knows {tables.SCHEMA_VERSION}) - run that version"
                )
            # The tables are shared: another deployment may have made them, with an older version.
            for table, column, statement in tables.ADDED:
                if column not in {c["name"] for c in sa.inspect(connection).get_columns(table)}:
                    connection.exec_driver_sql(statement)
            if row is None:
                values = {
                    "deployment": self.deployment,
                    "schema_version": tables.SCHEMA_VERSION,
                    "incarnation": secrets.token_hex(8),
                    "generation": 1,
                    "key_fingerprint": self.seal.fingerprint,
                    "last_person": FIRST_PERSON - 1,
                }
                connection.execute(sa.insert(tables.state).values(**values))
                return
            connection.execute(sa.update(tables.state).where(mine).values(schema_version=tables.SCHEMA_VERSION))
        if row.key_fingerprint != self.seal.fingerprint:
            raise HaltError(
                "STORE_KEY_CHANGED",
                "the identities in the hub store were written with another store.key, or with none",
                "restore store.key: without it nobody in there can be found",
            )

    def close(self) -> None:
        self._database.close()

    def generation(self) -> Generation:
        with self.reading() as rows:
            found = rows.one(
                "SELECT incarnation, generation FROM datong_identity_state WHERE deployment = ?", self.deployment
            )
        return Generation(found[0], found[1])

    @contextmanager
    def reading(self) -> Iterator[Rows]:
        with self._database.transaction() as connection:
            yield Rows(connection, self.deployment, is_sqlite=self._database.is_sqlite)

    @contextmanager
    def deciding(self) -> Iterator[Deciding]:
        """One transaction that nobody else's decisions overlap."""
        with self._database.exclusive(tables.IDENTITY_LOCK) as connection:
            rows = Rows(connection, self.deployment, is_sqlite=self._database.is_sqlite)
            yield Deciding(rows, self.deployment, self.seal)

    def keep_moves(self, channel: str, seq: int, moved: Sequence[tuple[str, str, bytes]]) -> None:
        """Which references a merge moves in a channel: (mapping, column, packed key of the row)."""
        if moved:
            with self.deciding() as deciding:
                deciding.rows.many(
                    'INSERT INTO datong_identity_move (deployment, channel, seq, mapping, "column", local_key)'
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    [
                        (self.deployment, channel, seq, name, column, self.seal.close(_MOVE, key))
                        for name, column, key in moved
                    ],
                )

    def merge_of(self, kept: OneID, gone: OneID) -> int | None:
        """The number of the merge that made them one."""
        sql = (
            "SELECT MAX(seq) FROM datong_identity_event WHERE deployment = ? AND kind = 'merge' AND undone_by IS NULL"
            " AND kept = ? AND gone = ?"
        )
        with self.reading() as rows:
            found: int | None = rows.one(sql, self.deployment, kept, gone)[0]
        return found

    def moves(self, channel: str, seq: int) -> list[tuple[str, str, bytes]]:
        sql = 'SELECT mapping, "column", local_key FROM datong_identity_move WHERE deployment = ? AND channel = ? AND seq = ?'
        with self.reading() as rows:
            found = rows.all(sql, self.deployment, channel, seq)
        # Told twice where a batch was tried twice: sealed, the same key is another text each time.
        return list(dict.fromkeys((name, column, self.seal.open(_MOVE, bytes(key))) for name, column, key in found))

    def forget_channel(self, channel: str) -> None:
        """Every link of a channel's rows: `datong remove`. Who the people are stays known by their identifiers."""
        with self.deciding() as deciding:
            for table in ("datong_identity_link", "datong_identity_tombstone", "datong_identity_past"):
                deciding.rows.many(
                    f"DELETE FROM {table} WHERE deployment = ? AND channel = ?", [(self.deployment, channel)]
                )
            deciding.begin_generation()

    def drop_tombstones(self, channel: str, before: int) -> None:
        """Those, and who rows were before, that cover nothing any more: a capture that starts anew begins at the order `before` or later."""
        for table, order in (("datong_identity_tombstone", "at_order"), ("datong_identity_past", "until_order")):
            which = f"FROM {table} WHERE deployment = ? AND channel = ? AND {order} < ?"
            with self.reading() as rows:
                found = rows.one(f"SELECT 1 {which} LIMIT 1", self.deployment, channel, before)
            if found is not None:
                with self.deciding() as deciding:
                    deciding.rows.many(f"DELETE {which}", [(self.deployment, channel, before)])

    def local(self, digest: bytes, value: bytes) -> LocalKey:
        """A row's key in its channel, out of the hub store."""
        return unpack_local(self.seal.open(digest, value))


class Deciding:
    """The open transaction in which who-is-who changes."""

    def __init__(self, rows: Rows, deployment: str, seal: Seal) -> None:
        self.rows = rows
        self._deployment = deployment
        self._seal = seal
        self._last_person: int | None = None
        self._first_person = 0

    def new_person(self) -> OneID:
        if self._last_person is None:
            self._first_person = self._last_person = self.rows.last_person()
        self._last_person += 1
        return self._last_person

    def view(self, channel: str, row_digests: Sequence[bytes], identifier_digests: Sequence[bytes]) -> View:
        """All that `decide` may ask for, of these rows and identifiers."""
        view = View(channel, self.new_person)
        view.links = self.rows.links(row_digests)
        claimed = {digest for link in view.links.values() for digest in link.claims}
        view.owners = self.rows.owners(list(claimed.union(identifier_digests)))
        involved = {link.canonical for link in view.links.values()} | {o.person for o in view.owners.values()}
        people = list(involved)
        for person, where in self.rows.channels(people):
            view.person(person).channels.add(where)
        for person, told in self.rows.told(people):
            view.person(person).told = told
        for person, field, scope, digest, _ in self.rows.identifiers(people):
            view.person(person).identifiers.setdefault((field, scope), set()).add(digest)
        return view

    def keep(self, view: View, locals_: Mapping[bytes, LocalKey], identifiers: Mapping[bytes, str]) -> None:
        """Write what was decided, all but `view.joined` (`cdc.identity.merging` does that). `locals_` and `identifiers` are the values behind the digests of the batch."""
        rows, seal = self.rows, self._seal
        self.add_people(view.created)
        rows.many(
            "UPDATE datong_person SET told = ? WHERE deployment = ? AND id = ?",
            [(" ".join(sorted(view.person(p).told)), self._deployment, p) for p in sorted(view.changed_told)],
        )
        rows.many("DELETE FROM datong_identifier WHERE digest = ?", [(digest,) for digest in view.released])
        rows.write_links(
            (digest, view.links[digest], seal.close(digest, pack_local(locals_[digest])))
            for digest in sorted(view.changed_links)
        )
        rows.write_owners(
            (digest, view.owners[digest], seal.close(digest, identifiers[digest].encode()))
            for digest in sorted(view.changed_owners)
        )
        rows.write_pasts(view.channel, view.past)
        self.ask(view)

    def add_people(self, created: Mapping[OneID, str]) -> None:
        self.rows.many(
            "INSERT INTO datong_person (deployment, id, entity, joined) VALUES (?, ?, ?, ?)",
            [(self._deployment, person, entity, False) for person, entity in created.items()],
        )
        if self._last_person is not None and self._last_person != self._first_person:
            self.rows.many(
                "UPDATE datong_identity_state SET last_person = ? WHERE deployment = ?",
                [(self._last_person, self._deployment)],
            )
            self._first_person = self._last_person

    def ask(self, view: View) -> None:
        """Keep questions; one that was asked before, decided or not, is not asked again."""
        self.rows.many(
            "INSERT INTO datong_identity_question (deployment, kind, entity, one, other, identifier, channel, since)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (deployment, one, other, identifier) DO NOTHING",
            [
                (self._deployment, q.kind, q.entity, q.one, q.other, q.identifier, q.channel, time.time())
                for q in view.questions
            ],
        )

    def begin_generation(self) -> None:
        """Every cache is left behind."""
        self.rows.many(
            "UPDATE datong_identity_state SET generation = generation + 1 WHERE deployment = ?", [(self._deployment,)]
        )
