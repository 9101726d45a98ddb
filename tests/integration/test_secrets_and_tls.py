"""CASES.md A7 and A8, end to end: canary passwords in every URL and the token, every error path forced, everything searched (I9);
TLS with verification to every server, and one clear line where it cannot be had.
"""

import os
import signal
import stat
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from cdc.demo.servers import MariaDB, MySQL, PostgreSQL, Redis
from cdc.demo.servers.certificates import certificates
from tests.servers import RedisDatabase, mysql_database, postgresql_database, server_folder
from tests.waiting import await_that
from tests.world import World

CANARIES = {
    "a": "cnry@ma:ria/50%25-Zq1",
    "b": "cnry@post:gres/%41-Zq2",
    "redis": "cnry@re:dis/%2F-Zq3",
    "token": "cnry-tok:en/@%-Zq4-0123456789",
    "wrong": "cnry@wro:ng/%-Zq5",
}
ROW = "cnry-of-a-row-Zq6"


def forms(secret):
    return {secret, quote(secret, safe=""), quote_plus(secret), quote(secret), repr(secret)[1:-1]}


def searched(world, *texts):
    """Every place where a secret could show; answer which of them hold one."""
    places = {"logs": world.all_logs(), **{f"text {n}": text for n, text in enumerate(texts)}}
    for process in world.processes:
        for pid in [process.pid, *world.role_pids()]:
            places[f"cmdline {pid}"] = _proc(pid, "cmdline") + _proc(pid, "comm")
    for path in ("/api/status", "/metrics", "/readyz", "/healthz", "/api/mappings", "/", "/nowhere"):
        places[path] = world.get(path, token=CANARIES["token"])[1] + world.get(path, token=CANARIES["wrong"])[1]
    secrets = [form for secret in (*CANARIES.values(), ROW) for form in forms(secret)]
    return {place: secret for place, text in places.items() for secret in secrets if secret in text}


def _proc(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


class CanaryWorld(World):
    """Accounts of its own, whose passwords are canaries; the URLs hold them as an operator would write them."""

    def configuration(self):
        document = super().configuration()
        a, b = self.channels.values()
        document["channels"]["a"]["url"] = f"mariadb://cnry_user:${{A_PASSWORD}}@127.0.0.1:{a.port}/{a.database.name}"
        encoded = quote(self.passwords["b"], safe="")
        document["channels"]["b"]["url"] = f"postgresql://{self.login}:{encoded}@127.0.0.1:{b.port}/{b.database.name}"
        document["redis"]["url"] = f"redis://cnry:${{REDIS_PASSWORD}}@127.0.0.1:{self.redis_port}/{self.redis.number}"
        return document

    def environment(self):
        return super().environment() | {
            "A_PASSWORD": self.passwords["a"], "REDIS_PASSWORD": self.passwords["redis"], "ADMIN_TOKEN": CANARIES["token"],
        }  # fmt: skip

    def get(self, path, *, token=CANARIES["token"], **more):
        return super().get(path, token=token, **more)


@pytest.fixture
def canaries(tmp_path, mariadb_db, postgresql_db, redis_db):
    world = CanaryWorld(tmp_path, redis_db, {"a": mariadb_db, "b": postgresql_db})
    world.passwords = dict(CANARIES)
    world.login = f"cnry_{postgresql_db.name[-8:]}"
    for channel in world.channels.values():
        channel.create_table()
    mariadb_db.execute("CREATE OR REPLACE USER cnry_user@'%%' IDENTIFIED BY %s", CANARIES["a"])
    mariadb_db.execute("GRANT ALL ON *.* TO cnry_user@'%'")
    postgresql_db.execute(f"CREATE ROLE {world.login} SUPERUSER LOGIN PASSWORD '{CANARIES['b']}'")
    with redis_db.connect() as client:
        client.acl_setuser(
            "cnry", enabled=True, passwords=[f"+{CANARIES['redis']}"], keys=["*"], channels=["*"], commands=["+@all"]
        )
    yield world
    world.close()
    mariadb_db.execute("DROP USER cnry_user@'%'")
    postgresql_db.execute(f"REASSIGN OWNED BY {world.login} TO CURRENT_USER")
    postgresql_db.execute(f"DROP OWNED BY {world.login}")
    postgresql_db.execute(f"DROP ROLE {world.login}")
    with redis_db.connect() as client:
        client.acl_deluser("cnry")


def test_a7_no_secret_and_no_row_value_shows_anywhere(canaries, tcp_proxy):
    world = canaries
    world["b"].execute("ALTER TABLE t ADD CONSTRAINT short CHECK (length(note) < 10)")
    world.mappings["b.t"] = {"direction": "apply"}
    proxies = {name: tcp_proxy("127.0.0.1", channel.port) for name, channel in world.channels.items()}
    for name, proxy in proxies.items():
        world.channels[name].port = proxy.port
    said = []
    world.start("--debug", "run", as_it_is=True)  # its processes' own command lines are searched
    world["a"].execute("INSERT INTO t VALUES (1, 1, 'fine')")
    world["a"].execute("INSERT INTO t VALUES (2, 1, %s)", ROW)
    await_that(lambda: world.role("b", "apply")["parked"] == 1, message=lambda: f"parked; {world.status()}")
    for command in (
        ["parked", "list"],
        ["parked", "list", "--json"],
        ["status"],
        ["status", "--json"],
        ["doctor"],
        ["check"],
    ):
        done = world.command(*command)
        said.append(done.stdout + done.stderr)
    assert searched(world, *said) == {}, "while all is well"
    assert len(said[0]) > 50

    for proxy in proxies.values():  # servers that are down, connections that break
        proxy.refuse()
        proxy.reset()
    await_that(lambda: world.readiness()[0] == 503, timeout=15, message="red without databases")
    said += [(done := world.command("--debug", "doctor")).stdout + done.stderr]
    said += [(done := world.command("--debug", "parked", "list")).stdout + done.stderr]
    for proxy in proxies.values():
        proxy.accept()
    world.await_ready(timeout=40)
    crashed = world.role_pid("apply", "b")
    os.kill(crashed, signal.SIGABRT)  # a crash with a traceback of the interpreter, if there were one
    world.await_event("role.ended", role="apply", channel="b", status=-signal.SIGABRT)
    await_that(lambda: world.role_pid("apply", "b") != crashed, timeout=40, message="it to run again")
    world.await_ready(timeout=40)
    assert searched(world, *said) == {}, "with databases down and a crash"
    assert world.stop() == 0

    for name in ("a", "b", "redis"):  # a wrong password for each
        world.passwords = {**CANARIES, name: CANARIES["wrong"]}
        world.write_configuration()
        world.start("--debug", "run", ready=False)
        await_that(
            lambda: "halted" in world.log() or "refused" in world.log() or "retrying" in world.log(), timeout=30,
            message=lambda name=name: f"{name} refused\n{world.log()[-2000:]}",
        )  # fmt: skip
        await_that(lambda: world.readiness()[0] == 503, message="red")
        said += [(done := world.command("--debug", "doctor")).stdout + done.stderr]
        assert done.returncode == 1
        assert searched(world, *said) == {}, f"with a wrong password for {name}"
        world.stop()

    world.passwords = dict(CANARIES)  # a configuration that is refused, with secrets in the wrong places
    document = world.configuration()
    document["channels"]["a"]["tls"] = {"ca": CANARIES["a"], "cert": CANARIES["b"]}
    document["channels"]["b"]["url"] = f"postgrexql://x:{CANARIES['b']}@127.0.0.1/x"
    document["admin"]["tokn"] = "${ADMIN_TOKEN}"
    from tests.world import _yaml

    world.path.write_text(_yaml(document))
    for command in (["check"], ["--debug", "check"], ["--debug", "run"]):
        done = world.command(*command)
        assert done.returncode == 2, done.stderr
        said.append((done.stdout + done.stderr).replace(f"tls.ca: {CANARIES['a']}", ""))
    assert searched(world, *said) == {}, "with a bad configuration"

    store = Path(world.folder / "store.db")
    for file in store.parent.glob("store.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in CANARIES.values())
    with world.redis.connect() as client:
        for key in client.keys("*"):
            dumped = client.dump(key)
            assert not any(secret.encode() in dumped for secret in CANARIES.values()), key


# -- A8


@pytest.fixture(scope="module")
def encrypted():
    """One server of each kind whose certificate is for 127.0.0.1 only."""
    with server_folder() as folder, ExitStack() as stack:
        pem = certificates(folder / "pem", hosts=("127.0.0.1",))
        servers = {
            "mariadb": MariaDB(folder / "mariadb", server_id=131, tls=pem),
            "postgresql": PostgreSQL(folder / "postgresql", tls=pem),
            "mysql": MySQL(folder / "mysql", server_id=133, tls=pem),
            "redis": Redis(folder / "redis", tls=pem, options={"tls-auth-clients": "yes"}),
        }
        servers["redis"].options = {}
        for server in servers.values():
            stack.enter_context(server)
        yield servers, pem, folder


def encrypted_world(tmp_path, servers, stack, tls):
    databases = {
        "a": stack.enter_context(mysql_database(servers["mariadb"], "tls")),
        "b": stack.enter_context(postgresql_database(servers["postgresql"], "tls")),
        "c": stack.enter_context(mysql_database(servers["mysql"], "tls")),
    }
    world = World(tmp_path, RedisDatabase(servers["redis"], 0), databases)
    stack.callback(world.close)
    for channel in world.channels.values():
        channel.create_table()
        channel.options["tls"] = dict(tls)
    set_redis(world, tls)
    return world


def set_redis(world, tls, host="127.0.0.1"):
    server = world.redis.server
    url = f"rediss://{server.admin_user}:${{REDIS_PASSWORD}}@{host}:{world.redis_port}/0"
    world.extra["redis"] = {"url": url, "tls": dict(tls)}


def test_a8_verified_tls_and_a_client_certificate_everywhere(tmp_path, encrypted):
    servers, pem, _ = encrypted
    with ExitStack() as stack:
        mutual = {"ca": str(pem.ca), "cert": str(pem.client_cert), "key": str(pem.client_key)}
        world = encrypted_world(tmp_path, servers, stack, mutual)
        for name in ("a", "c"):  # the server lets nobody in without a certificate of that authority
            server = world[name].database.server
            world[name].execute(f"CREATE USER mutual@'%' IDENTIFIED BY '{server.password}' REQUIRE X509")
            world[name].execute("GRANT ALL ON *.* TO mutual@'%'")
            url = world[name].url().replace(f"//{server.admin_user}:", "//mutual:")
            world[name].url = lambda url=url: url
            stack.callback(world[name].execute, "DROP USER mutual@'%'")
        world.start()
        for n, name in enumerate(world.channels):
            world[name].execute("INSERT INTO t VALUES (%s, 1, 'encrypted')", n)
        assert len(world.await_equal()) == 3
        sessions = world["b"].execute(
            "SELECT ssl, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE application_name = 'datong' AND datname = current_database()"
        )
        assert len(sessions) >= 2 and all(ssl and "CN=datong" in (name or "") for ssl, name in sessions), sessions
        assert world.stop() == 0


def test_a8_what_cannot_be_verified_is_refused_with_one_line(tmp_path, encrypted, mariadb, postgresql):
    servers, pem, folder = encrypted
    other = certificates(folder / "other")
    with ExitStack() as stack:
        world = encrypted_world(tmp_path, servers, stack, {"ca": str(pem.ca)})
        world.start()
        world["a"].execute("INSERT INTO t VALUES (1, 1, 'x')")
        world.await_equal()

        def all_refused(*words):
            """Both roles of every channel are halted, and each says why in one line: this time's reason, not the last one's."""
            world.write_configuration()

            def told(name):
                status, ready = world.readiness()
                seen = ready.get("channels", {}).get(name, {})
                reasons = seen.get("reason", "").lower().removeprefix("capture: ").split("; apply: ")
                halted = (status, seen.get("capture"), seen.get("apply")) == (503, "halted", "halted")
                return halted and len(reasons) == 2 and all(any(word in each for word in words) for each in reasons)

            for name in world.channels:
                await_that(
                    lambda name=name: told(name), timeout=60,
                    message=lambda name=name: f"{name} {words}: {world.readiness()}\n{world.log()[-3000:]}",
                )  # fmt: skip
                assert "\n" not in world.readiness()[1]["channels"][name]["reason"]

        for channel in world.channels.values():
            channel.options["tls"] = {"ca": str(other.ca)}
        all_refused("self-signed certificate", "certificate verify failed")

        plain = {name: channel.url for name, channel in world.channels.items()}
        for name, channel in world.channels.items():
            channel.options["tls"] = {"ca": str(pem.ca)}
            channel.url = lambda name=name: plain[name]().replace("127.0.0.1", "localhost")
        all_refused("hostname mismatch", "does not match host name")

        for name, server in (("a", mariadb), ("b", postgresql)):  # servers without TLS; never in the clear instead
            database = world[name].database.name
            world[name].url = lambda name=name, server=server, database=database: (
                f"{world[name].engine}://{server.admin_user}:{quote(server.password)}@127.0.0.1:{server.port}/{database}"
            )
        world["c"].options["tls"] = {"ca": str(other.ca)}
        all_refused(
            "doesn't support it (2026) - check the channel's tls", "does not support ssl", "self-signed certificate"
        )

        for channel in world.channels.values():
            channel.options["tls"] = {"ca": str(pem.ca)}
        for name, channel in world.channels.items():
            channel.url = plain[name]
        world.write_configuration()
        world.await_ready(timeout=40)
        world["a"].execute("INSERT INTO t VALUES (2, 1, 'mended')")
        world.await_equal()

        for tls, host in (({"ca": str(other.ca)}, "127.0.0.1"), ({"ca": str(pem.ca)}, "localhost")):
            set_redis(world, tls, host)
            world.write_configuration()
            done = world.command("doctor")
            text = done.stdout + done.stderr
            assert done.returncode == 1 and "certificate" in text.lower(), text


def test_a8_an_expired_certificate_is_refused(tmp_path, encrypted):
    servers, _, folder = encrypted
    expired = certificates(folder / "expired", hosts=("127.0.0.1",), expired=True)
    with ExitStack() as stack:
        for server in servers.values():
            before = server.tls
            server.tls = expired
            server.restart()
            stack.callback(setattr, server, "tls", before)
        world = encrypted_world(tmp_path, servers, stack, {"ca": str(expired.ca)})
        world.write_configuration()
        done = world.command("doctor")
        text = done.stdout + done.stderr
        assert done.returncode == 1
        assert text.lower().count("expired") >= 4, text
