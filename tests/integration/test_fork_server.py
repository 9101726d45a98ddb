"""Roles are forked from a process that has imported what they need; without it they start as programs of their own."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from cdc.demo.command_lines import command_line
from cdc.supervisor.forking import ForkServer
from tests.waiting import await_that


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(world):
    """Process ids by the words that follow `-m`."""
    found = {}
    for pid in world.role_pids():
        with suppress(OSError):  # it may have ended since
            words = command_line(pid)
            if "-m" in words:
                found[tuple(words[words.index("-m") + 1 :][:3])] = pid
    return found


def fork_servers(world):
    return [pid for words, pid in children_of(world).items() if words[0] == "cdc.fork_server"]


def another(world, role, than):
    """The process id of a role that was killed, once it runs again."""

    def found():
        pid = children_of(world).get(role)
        return pid if pid not in than else None

    return await_that(found, message=f"another {role}")


CAPTURE = ("cdc.roles", "capture", "a")


@pytest.fixture
def world(make_world):
    made = make_world("mariadb_db", "postgresql_db")
    made.start(as_it_is=True)
    return made


def test_roles_are_the_supervisors_own_children_and_do_not_need_the_fork_server_to_live_or_to_start(world):
    supervisor = world.processes[-1].pid
    roles = {words: pid for words, pid in children_of(world).items() if words[0] == "cdc.roles"}
    assert sorted(words[1:] for words in roles) == [("apply", "a"), ("apply", "b"), ("capture", "a"), ("capture", "b")]
    for words, pid in roles.items():
        assert Path(f"/proc/{pid}/comm").read_text() == ".".join(words[1:]) + "\n", "it was not forked"
        assert parent(pid) == supervisor
        assert os.getpgid(pid) == pid, "Ctrl-C in the terminal would reach it"
    (server,) = fork_servers(world)
    assert os.getpgid(server) == server

    os.kill(server, signal.SIGKILL)
    assert all(parent(pid) == supervisor for pid in roles.values())
    first = roles[CAPTURE]
    os.kill(first, signal.SIGKILL)
    second = another(world, CAPTURE, {first, None})
    await_that(lambda: set(fork_servers(world)) - {server}, message="another fork server")
    assert "fork_server.gone" in world.log()
    world.await_ready()

    # The next one is forked again, and the kernel ends all of them with the supervisor.
    os.kill(second, signal.SIGKILL)
    third = another(world, CAPTURE, {first, second, None})
    assert await_that(lambda: Path(f"/proc/{third}/comm").read_text() == "capture.a\n")
    world.await_ready()
    world.kill()


def test_a_service_that_is_told_to_stop_leaves_no_process(world):
    pids = world.role_pids()
    assert world.stop() == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def server():
    made = ForkServer()
    yield made
    made.close()
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what it made of this process


def test_a_fork_server_whose_supervisor_ends_without_having_listened_says_nothing():
    """What was not read resets the connection: that is no more than its end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "cdc.fork_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
        )
        theirs.close()
        select.select([ours], [], [], 60)
    assert process.communicate(timeout=60) == (None, b"")
    assert process.returncode == 0


def test_a_fork_server_that_ended_while_it_imported_is_replaced_for_the_next_role(server):
    children = Path(f"/proc/self/task/{os.getpid()}/children")

    def started():  # a process that was just started has no command line yet
        with suppress(OSError):  # it may have ended since
            return [pid for pid in map(int, children.read_text().split()) if "cdc.fork_server" in command_line(pid)]
        return []

    (pid,) = await_that(started, message="the fork server")
    os.kill(pid, signal.SIGKILL)
    await_that(lambda: not server.importing(), message="it is noticed")

    reading, writing = os.pipe()
    try:
        child = await_that(lambda: server.fork(["--help"], writing), message="a role is forked again")
        await_that(lambda: child.poll() is not None)
        assert child.poll() == 0
    finally:
        os.close(reading)
        os.close(writing)
