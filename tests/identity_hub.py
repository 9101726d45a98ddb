"""A hub store on SQLite and PostgreSQL, and the captures that ask it who is who."""

import itertools

import pytest

from cdc.identity.caches import RedisCache
from cdc.identity.directory import Directory
from cdc.identity.identifiers import Normaliser
from cdc.identity.merging import Merging
from cdc.identity.registry import Registry
from cdc.identity.resolver import Resolver
from cdc.identity.words import Row, Sighting
from cdc.redis_connection import RedisAddress
from transforms.specs import IdentitySpec

RULE = IdentitySpec(("openid", "phone", "email"))
NORMAL = Normaliser(RULE)


class Hub:
    """A hub store and the captures of some channels."""

    def __init__(self, url, key=None, redis=None):
        self.url, self.key, self.redis = url, key, redis
        self.registry = Registry(url, "coffee", key)
        self.registry.open()
        self._captures = {}
        self._places = itertools.count(1)

    def capture(self, channel, max_rows=None, fresh=False):
        if fresh or channel not in self._captures:
            cache = RedisCache(self.redis, "coffee", 1000) if self.redis else None
            self._captures[channel] = Resolver(
                self.registry, channel, cache_size=100, redis=cache, max_rows={"member": max_rows}
            )
        return self._captures[channel]

    def sees(self, channel, local, *, openid=None, phone=None, email=None, at=None, max_rows=None, **more):
        at = next(self._places) if at is None else at
        sighting = Sighting(Row("member", (local,)), NORMAL.identifiers((openid, phone, email)), (at, 0), **more)
        (person,) = self.capture(channel, max_rows).resolve([sighting])
        return person

    def decide(self, what, *arguments):
        with self.registry.deciding() as deciding:
            return getattr(Merging(deciding, "coffee", "tester"), what)(*arguments)

    def directory(self, channel):
        return Directory(self.registry, channel, cache_size=100)

    def canonical(self, people):
        with self.registry.reading() as rows:
            return rows.merged(people)

    def questions(self):
        with self.registry.reading() as rows:
            sql = "SELECT kind, one, other FROM datong_identity_question WHERE deployment = ? AND decision IS NULL ORDER BY id"
            return [tuple(row) for row in rows.all(sql, "coffee")]

    def count(self, table):
        with self.registry.reading() as rows:
            return rows.one(f"SELECT COUNT(*) FROM {table} WHERE deployment = ?", "coffee")[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def hub_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hub/datong.db"
    return request.getfixturevalue("postgresql_db").url()


@pytest.fixture
def hub(hub_url):
    made = Hub(hub_url)
    yield made
    made.registry.close()


@pytest.fixture
def redis_address(redis_db):
    server = redis_db.server
    password = getattr(server, "password", "") or ""
    return RedisAddress(f"redis://{server.admin_user}:{password}@127.0.0.1:{server.port}/{redis_db.number}")
