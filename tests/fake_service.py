"""The real supervisor and admin server over fake roles: `python tests/fake_service.py FOLDER`, steered by the files in it.

`settings.json` stands in for the configuration, or `datong.yaml` is one and is followed as in earnest; `roles.json` is what the
roles do. No database, no Redis.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from cdc import logs
from cdc.errors import TransientError
from cdc.health import RoleKey
from cdc.redis_connection import RedisAddress
from cdc.supervisor.admin_feed import AdminFeed, CannotListenError, listen
from cdc.supervisor.following import ConfigurationFollower
from cdc.supervisor.probes import Probes
from cdc.supervisor.processes import RolePrograms
from cdc.supervisor.runner import Follower, Supervisor
from cdc.supervisor.settings import AdminSettings, MappingLine, ServiceSettings
from config.watch import ConfigWatch


class FakeFollower:
    def __init__(self, folder: Path) -> None:
        self._file = folder / "settings.json"
        self._text = self._file.read_text()
        self.configuration_path = str(folder / "datong.yaml")
        self.reload_error = ""
        self.loaded_at = time.time()
        self.settings = settings_of(folder, json.loads(self._text))

    def poll(self) -> bool:
        text = self._file.read_text()
        if text == self._text:
            return False
        self._text = text
        try:
            self.settings = settings_of(self._file.parent, json.loads(text))
            self.reload_error = ""
        except ValueError as error:
            self.reload_error = str(error)
        return True


def settings_of(folder: Path, said: dict) -> ServiceSettings:
    return ServiceSettings(
        deployment="fake",
        roles=frozenset((kind, channel) for kind, channel in said["roles"]),
        channels=tuple(sorted({channel for _, channel in said["roles"]})),
        mappings={name: MappingLine(**line) for name, line in said.get("mappings", {}).items()},
        admin=AdminSettings("127.0.0.1", said["port"], said.get("token")),
        redis=RedisAddress("redis://127.0.0.1:1"),
        store_url=f"sqlite:///{folder}/store.db",
        hang_seconds=said.get("hang_seconds", 30.0),
        grace_seconds=said.get("grace_seconds", 5.0),
        servers=frozenset({"db.internal.example"}),
        secrets=frozenset(filter(None, [said.get("token")])),
    )


def main() -> int:
    folder = Path(sys.argv[1])
    logs.configure()
    path = folder / "datong.yaml"
    follower: Follower = (
        ConfigurationFollower(path, ConfigWatch(path, os.environ)) if path.exists() else FakeFollower(folder)
    )
    logs.SECRETS.know(follower.settings.secrets)
    broken = folder / "redis.down"

    def redis_probe() -> None:
        while broken.exists() and broken.read_text() == "hang":
            time.sleep(0.1)
        if broken.exists():
            raise TransientError(f"Redis redis://127.0.0.1:1: {broken.read_text()}")

    def words_of(role: RoleKey) -> list[str]:
        return [*role, str(folder / "roles.json")]

    try:
        listener = listen(follower.settings.admin)
    except CannotListenError as error:
        print(error, file=sys.stderr)
        return 1
    programs = RolePrograms(words_of, "tests.fake_role")
    return Supervisor(follower, programs, AdminFeed(listener), Probes({"Redis": redis_probe})).run()


if __name__ == "__main__":
    raise SystemExit(main())
