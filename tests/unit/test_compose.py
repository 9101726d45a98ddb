"""docker-compose.yml gives nothing away: no default password, no port but on the loopback, no spare rights (A8, A9)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from config.load import load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = YAML(typ="safe").load(TEXT)["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_and_published_on_the_loopback_only(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", []))
    for variable, value in service["environment"].items():
        if re.search("PASSWORD|TOKEN", variable):
            assert value == f"${{{variable}:?set it in .env}}"


def test_datong_runs_on_a_read_only_file_system_without_root() -> None:
    assert SERVICES["datong"]["read_only"] is True
    assert "cap_add" not in SERVICES["datong"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert "--require-hashes -r requirements.lock" in dockerfile


def test_every_variable_is_in_the_example_and_has_no_value_there() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", TEXT))
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given) == wanted
    assert set(given.values()) == {""}


def test_the_databases_log_what_datong_reads() -> None:
    assert "--binlog-format=ROW" in SERVICES["website"]["command"]
    assert "--binlog-row-image=FULL" in SERVICES["website"]["command"]
    assert "--binlog-row-metadata=FULL" in SERVICES["website"]["command"]
    assert "wal_level=logical" in SERVICES["miniapp"]["command"]
    assert "noeviction" in SERVICES["redis"]["command"][0]


def test_the_configuration_in_it_is_good() -> None:
    names = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    load(ROOT / "deploy/datong/datong.yaml", dict.fromkeys(names, "0123456789abcdef0123456789abcdef"))
