"""The supervisor over fake roles in real processes: starts, restarts, notices, stops, and never leaves an orphan."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import FakeService, gone, kill
from tests.waiting import await_that

Starts = Callable[..., FakeService]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starts]:
    started: list[FakeService] = []

    def begin(*roles: str, deaf: str = "", **more: Any) -> FakeService:
        service = FakeService(tmp_path, *roles, **more)
        if deaf:  # from its first report on
            service.behave(deaf, "deaf")
        started.append(service)
        return service.start()

    yield begin
    for service in started:
        service.stop()


def test_roles_are_started_and_reported(start: Starts) -> None:
    service = start("capture.website", "apply.website", "apply.crm")
    ready = service.await_status("ok")
    assert ready["code"] == 200
    assert ready["channels"] == {
        "crm": {"capture": None, "apply": "running", "reason": ""},
        "website": {"capture": "running", "apply": "running", "reason": ""},
    }


def test_a_killed_role_shows_as_dead_and_is_started_again(start: Starts) -> None:
    service = start("capture.website", "apply.website")
    service.await_status("ok")
    before = service.children()
    kill(before["capture.website"])
    service.await_event("role.ended", saying="killed by SIGKILL")
    await_that(
        lambda: service.children().get("capture.website", before["capture.website"]) != before["capture.website"]
    )
    service.await_status("ok")
    assert service.children()["apply.website"] == before["apply.website"]


def test_a_hung_role_is_red_before_it_is_replaced_after_the_hang_time(start: Starts) -> None:
    service = start("capture.website", hang_seconds=600)
    service.await_status("ok")
    pid = service.children()["capture.website"]
    service.behave("capture.website", "hang")
    ready = service.await_status("down", saying="hung")  # how soon: tests/unit/test_health.py
    assert not gone(pid)
    service.behave("capture.website")  # as it will be when it is replaced: this one does not look again
    service.configure("capture.website", hang_seconds=5)
    assert ready["channels"]["website"]["capture"] == "dead"
    assert ready["code"] == 503
    assert service.ask("/healthz").code == 200
    await_that(lambda: gone(pid), message="the hung process to be killed")
    service.await_status("ok")


def test_a_crash_loop_is_never_green_and_slows_down(start: Starts) -> None:
    service = start("capture.website")
    service.behave("capture.website", "crash")
    service.await_status("down", saying="exit code 1")
    await_that(lambda: service.log.count('"role.ended"') >= 4, message="four crashes")
    seen = {await_that(service.ready)["status"] for _ in range(20)}
    assert seen == {"down"}
    starts = service.log.count('"role.started"')
    time.sleep(1)  # the very thing measured: how often within a second
    assert service.log.count('"role.started"') - starts <= 2


def test_a_role_with_a_refused_configuration_waits_for_the_file_to_change(start: Starts) -> None:
    service = start("capture.website")
    service.behave("capture.website", 2)
    service.await_status("down", saying="configuration was refused")
    started = service.log.count('"role.started"')
    service.behave("capture.website")
    time.sleep(1)  # five times as long as a crash would wait: what does not happen has no event
    assert await_that(service.ready)["status"] == "down"
    assert service.log.count('"role.started"') == started
    service.configure("capture.website", mappings={})
    service.await_status("ok")


def test_roles_follow_the_configuration(start: Starts) -> None:
    service = start("capture.website")
    service.await_status("ok")
    service.configure("capture.website", "apply.crm")
    await_that(lambda: "crm" in service.await_status("ok")["channels"])
    service.configure("apply.crm")
    await_that(lambda: list(service.await_status("ok")["channels"]) == ["crm"])
    await_that(lambda: set(service.children()) == {"apply.crm", "admin"})


def test_a_rejected_reload_leaves_everything_running_and_says_so(start: Starts) -> None:
    service = start("capture.website")
    service.await_status("ok")
    good = (service.folder / "settings.json").read_text()
    (service.folder / "settings.json").write_text("{")
    ready = service.await_status("degraded", saying="reload rejected: ")
    assert ready["channels"]["website"]["capture"] == "running"
    (service.folder / "settings.json").write_text(good)
    service.await_status("ok")


@pytest.mark.parametrize("how", ["connection refused", "hang"])
def test_redis_out_of_reach_is_down_and_no_address_is_told(start: Starts, how: str) -> None:
    service = start("capture.website")
    service.await_status("ok")
    (service.folder / "redis.down").write_text(how)
    ready = service.await_status("down", saying="Redis out of reach")  # how soon: tests/unit/test_health.py
    assert "127.0.0.1" not in str(ready)
    (service.folder / "redis.down").unlink()
    service.await_status("ok")


def test_reasons_are_told_to_anybody_but_addresses_are_not(start: Starts) -> None:
    service = start("capture.website", token="secret-token")
    service.behave(
        "capture.website", state="halted", reason="cannot reach db.internal.example:3306 (10.1.2.3) - start it"
    )
    ready = service.await_status("down", saying="start it")
    assert ready["channels"]["website"]["reason"] == "capture: cannot reach (server) ((server)) - start it"
    status = service.ask("/api/status", token="secret-token").json
    assert "db.internal.example:3306" in status["channels"]["website"]["capture"]["reason"]


def test_sigterm_stops_everything_and_exits_with_zero(start: Starts) -> None:
    service = start("capture.website", "apply.website")
    service.await_status("ok")
    children = service.children().values()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0
    assert all(gone(pid) for pid in children)


def test_a_role_that_does_not_stop_is_killed_after_the_grace(start: Starts) -> None:
    service = start("capture.website", grace_seconds=1, deaf="capture.website")
    service.await_status("ok")
    pid = service.children()["capture.website"]
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0
    assert gone(pid)


def test_a_second_sigterm_stops_at_once(start: Starts) -> None:
    service = start("capture.website", grace_seconds=60, deaf="capture.website")
    service.await_status("ok")
    pid = service.children()["capture.website"]
    service.process.send_signal(signal.SIGTERM)
    await_that(lambda: "service.stopping" in service.log)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(50) == 1  # not the minute of its grace
    assert gone(pid)


def test_a_killed_supervisor_leaves_no_orphan(start: Starts) -> None:
    service = start("capture.website", "apply.website", deaf="apply.website")
    service.await_status("ok")
    children = service.children()
    assert set(children) == {"capture.website", "apply.website", "admin"}
    service.process.kill()
    service.process.wait()
    await_that(lambda: all(gone(pid) for pid in children.values()), message=f"{children} to be gone")


def test_a_killed_admin_server_comes_back_at_the_same_address(start: Starts) -> None:
    service = start("capture.website")
    service.await_status("ok")
    pid, roles = service.children()["admin"], service.children()["capture.website"]
    kill(pid)
    await_that(lambda: service.children().get("admin", pid) != pid)
    service.await_status("ok")
    assert service.children()["capture.website"] == roles


def test_a_stopped_supervisor_is_not_called_healthy(start: Starts) -> None:
    service = start("capture.website")
    service.await_status("ok")
    service.process.send_signal(signal.SIGSTOP)
    try:
        service.await_status("down", saying="supervisor")
        assert service.ask("/healthz").code == 503
    finally:
        service.process.send_signal(signal.SIGCONT)
    service.await_status("ok")


def test_a_port_in_use_is_one_clear_line(start: Starts, tmp_path: Path) -> None:
    with socket.socket() as taken:
        service = FakeService(tmp_path, "capture.website")
        taken.bind(("127.0.0.1", service.port))
        taken.listen()
        service.start()
        assert service.process.wait(60) == 1
    (line,) = service.log.splitlines()
    assert line.startswith(f"admin.listen: cannot listen on 127.0.0.1:{service.port}: Address already in use - ")
