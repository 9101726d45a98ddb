"""What the two subjects of ours share: a configuration of one captured channel, and what a role takes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench.harness.subject import Task
from bench.harness.workload import COLUMNS, FIELDS, TABLE
from cdc.readers import Wanted
from config.load import parse
from config.models import Configuration
from sinks.connections import Address

CHANNEL = "source"


def address_of(task: Task) -> Address:
    return Address(**task["address"])


def wanted_of(task: Task, target: str) -> Wanted:
    address = address_of(task)
    schema = "public" if address.engine == "postgresql" else address.database
    return Wanted("bench", target, {(schema, TABLE): frozenset(COLUMNS)})


def configuration_of(task: Task) -> Configuration:
    """One channel that is captured and one that would apply: nobody does, so the change log keeps all that is published."""
    address = task["address"]
    os.environ["BENCH_PASSWORD"] = address["password"]
    os.environ["BENCH_REDIS_PASSWORD"] = task["redis"]["password"]
    redis = task["redis"]
    place = f"{address['host']}:{address['port']}/{address['database']}"
    columns = {name: name for name in COLUMNS}
    document: dict[str, Any] = {
        "version": 1,
        "deployment": "bench",
        "redis": {"url": f"redis://{redis['user']}:${{BENCH_REDIS_PASSWORD}}@{redis['host']}:{redis['port']}/0"},
        "store": {"url": f"sqlite:///{Path(task['folder']) / 'store.db'}"},
        "change_log": {"max_bytes": "16GiB"},
        "channels": {
            CHANNEL: {"url": f"{address['engine']}://{address['user']}:${{BENCH_PASSWORD}}@{place}"},
            "nobody": {"url": "postgresql://nobody@127.0.0.1:1/nothing"},
        },
        "entities": {"order": {"key": ["id"], "fields": FIELDS}},
        "mappings": {
            name: {"channel": name, "table": TABLE, "entity": "order", "direction": way, "columns": columns}
            for name, way in ((CHANNEL, "capture"), ("nobody", "apply"))
        },
    }
    return parse(json.dumps(document), os.environ)
