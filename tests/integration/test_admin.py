"""The admin server over real sockets: who may ask what (CASES.md A1-A5), toggles, and that it stays fast (O7)."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.service import Answer, FakeService, request
from tests.waiting import await_that

TOKEN = "canary-token-7c1f"
FILE = """
version: 1
deployment: coffee
admin: {listen: "127.0.0.1:PORT", token: "canary-token-7c1f"}
store: {url: "sqlite:///FOLDER/store.db"}
channels:
  website: {url: "mariadb://datong:canary-password@db.internal.example:3306/shop"}
  crm: {url: "postgresql://datong:canary-password@10.9.8.7:5432/crm"}
entities:
  stock:
    key: [sku]
    fields: {sku: {type: text, max_length: 32}, quantity: {type: integer}}
mappings:
  website.stock:   # what the shop sells
    channel: website
    table: stock
    entity: stock
    columns: {sku: sku, amount: quantity}
  crm.stock:
    channel: crm
    table: articles
    entity: stock
    columns: {sku: sku, quantity: quantity}
"""
OPEN = ("/healthz", "/readyz")
PROTECTED = ("/", "/metrics", "/api/status", "/api/mappings", "/api/mappings/crm.stock", "/page/content", "/nothing")
ODD = (
    "/healthz/", "//healthz", "/Healthz", "/READYZ", "/%68ealthz", "/healthz%2f", "/readyz/../api/status", "/./healthz",
    "/api/status/", "//api/status", "/API/status", "/api/%73tatus", "/api/mappings/..%2f..%2fetc%2fpasswd",
    "/api/mappings/%2e%2e", "/../../etc/passwd", "/..%5c..%5cwindows", "/healthz;x", "/api/mappings/a%00b", "/api/mappings/%ff",
)  # fmt: skip


def configured(folder: Path, text: str = FILE) -> FakeService:
    service = FakeService(folder)
    service.use_file(text.replace("FOLDER", str(folder)))
    return service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    running = configured(tmp_path_factory.mktemp("admin")).start()
    try:
        running.await_status("ok")
        yield running
    finally:
        running.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[FakeService]:
    """A service that one test may spoil."""
    made = configured(tmp_path)
    yield made
    made.stop()


def bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


# -- who (A1)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FROB"])
@pytest.mark.parametrize("path", [*PROTECTED, *ODD])
def test_nothing_is_told_without_the_token(service: FakeService, method: str, path: str) -> None:
    for token in (None, "wrong", TOKEN + "x", TOKEN[:-1]):
        answer = service.ask(path, method, headers=bearer(token))
        assert answer.code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("token", [None, "wrong", TOKEN])
def test_health_is_open_to_all(service: FakeService, path: str, token: str | None) -> None:
    assert service.ask(path, headers=bearer(token)).code == 200
    head = service.ask(path, "HEAD", headers=bearer(token))
    assert (head.code, head.body) == (200, b"")
    options = service.ask(path, "OPTIONS")
    assert (options.code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert service.ask(path, "POST").code == 405


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/status", "/api/mappings", "/page/content"])
def test_the_token_opens_every_route(service: FakeService, path: str) -> None:
    assert service.ask(path, token=TOKEN).code == 200
    head = service.ask(path, "HEAD", token=TOKEN)
    assert (head.code, head.body) == (200, b"")
    assert service.ask(path, "OPTIONS", token=TOKEN).code == 204
    assert service.ask(path, "DELETE", token=TOKEN).code == 405


@pytest.mark.parametrize("path", [*ODD, "/nothing", "/api", "/api/mappings/none", "/static/page.js"])
def test_another_spelling_of_a_path_is_not_that_path(service: FakeService, path: str) -> None:
    assert service.ask(path, token=TOKEN).code == 404


@pytest.mark.parametrize(
    "given", ["Basic Y2FuYXJ5", f"bearer{TOKEN}", f"Bearer {TOKEN} x", "Bearer", "Bearer \xe9\xff"]
)
def test_only_a_bearer_token_is_one(service: FakeService, given: str) -> None:
    assert service.ask("/api/status", headers={"Authorization": given}).code == 401


def test_a_token_in_the_url_or_a_cookie_is_none(service: FakeService) -> None:
    assert service.ask(f"/api/status?token={TOKEN}").code == 401
    assert service.ask("/api/status", headers={"Cookie": f"datong_session_{service.port}={TOKEN}"}).code == 401


def test_two_authorization_headers_are_refused(service: FakeService) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as client:
        client.sendall(
            b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer wrong\r\n"
            + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_public_metrics_are_public_and_nothing_else_is(own: FakeService) -> None:
    text = (own.folder / "datong.yaml").read_text()
    (own.folder / "datong.yaml").write_text(text.replace('7c1f"}', '7c1f", public_metrics: true}'))
    own.start().await_status("ok")
    assert own.ask("/metrics").code == 200
    assert own.ask("/api/status").code == 401


def test_a_changed_token_is_taken_up_while_running(own: FakeService) -> None:
    own.start().await_status("ok")
    text = (own.folder / "datong.yaml").read_text()
    (own.folder / "datong.yaml").write_text(text.replace(TOKEN, "another-token-55"))
    await_that(lambda: own.ask("/api/status", token="another-token-55").code == 200)
    assert own.ask("/api/status", token=TOKEN).code == 401


# -- what is shown


def test_ready_names_no_server_and_status_holds_what_the_interface_says(service: FakeService) -> None:
    ready = service.ask("/readyz").json
    assert ready["channels"]["website"] == {"capture": "running", "apply": "running", "reason": ""}
    status = service.ask("/api/status", token=TOKEN).json
    assert {"status", "channels", "mappings", "configuration"} <= status.keys()
    capture, apply = status["channels"]["website"]["capture"], status["channels"]["website"]["apply"]
    assert {
        "state",
        "reason",
        "position",
        "lag_seconds",
        "transactions",
        "rows",
        "echoes",
        "retained_bytes",
    } <= capture.keys()
    assert {"state", "reason", "lag_seconds", "transactions", "rows", "parked", "positions"} <= apply.keys()
    assert status["mappings"]["crm.stock"] == {
        "enabled": True, "entity": "stock", "channel": "crm", "table": "articles", "direction": "both",
    }  # fmt: skip
    assert status["configuration"]["reload_error"] is None
    assert abs(status["configuration"]["loaded_at"] - time.time()) < 120


def test_metrics_are_prometheus_text(service: FakeService) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    answer = service.ask("/metrics", token=TOKEN)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            assert sample.name.startswith("datong_")
            samples[sample.name, sample.labels.get("channel")] = sample.value
    assert samples["datong_up", None] == 1
    for name in (
        "datong_captured_rows_total", "datong_applied_rows_total", "datong_echoes_dropped_total", "datong_parked_rows",
        "datong_lag_seconds", "datong_source_retained_bytes", "datong_role_up",
    ):  # fmt: skip
        assert (name, "website") in samples


def test_no_secret_is_in_any_answer_or_log_line(own: FakeService) -> None:
    own.behave("apply.crm", state="halted", reason="login failed for canary-password at db.internal.example:3306")
    own.start().await_status("down", saying="login failed")
    for path in ("/healthz", "/readyz", "/", "/metrics", "/api/status", "/api/mappings", "/page/content", "/none"):
        for token in (None, TOKEN):
            answer = own.ask(path, token=token)
            assert TOKEN not in answer.text + str(answer.headers)
    assert "db.internal.example" not in own.ask("/readyz").text
    assert TOKEN not in own.log
    assert "canary-password" not in own.log


def test_every_html_answer_forbids_framing_sniffing_and_foreign_script(service: FakeService) -> None:
    for answer in (service.ask("/"), service.ask("/", token=TOKEN), service.ask("/page/content", token=TOKEN)):
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in answer.headers


# -- toggles


def patch(service: FakeService, name: str, body: object, **headers: str) -> Answer:
    said = {"Content-Type": "application/json", **bearer(TOKEN), **{k.replace("_", "-"): v for k, v in headers.items()}}
    return service.ask(f"/api/mappings/{name}", "PATCH", headers=said, body=json.dumps(body).encode())


def enabled(service: FakeService, name: str) -> bool:
    answer: bool = service.ask("/api/mappings", token=TOKEN).json["mappings"][name]["enabled"]
    return answer


def test_a_toggle_is_in_the_file_in_force_and_in_the_audit_trail(own: FakeService) -> None:
    own.start().await_status("ok")
    answer = patch(own, "website.stock", {"enabled": False})
    assert (answer.code, answer.json["enabled"]) == (200, False)
    # The answer waits until it is in force, but not for ever.
    await_that(lambda: not enabled(own, "website.stock"), message="in force")
    text = (own.folder / "datong.yaml").read_text()
    assert "enabled: false" in text
    assert "# what the shop sells" in text
    again = patch(own, "website.stock", {"enabled": True})
    assert again.code == 200
    assert "not copied" in again.json["warning"]
    await_that(lambda: enabled(own, "website.stock"), message="in force again")
    with sqlite3.connect(own.folder / "store.db") as store:
        rows = store.execute("SELECT who, what, subject, before, after FROM datong_audit ORDER BY id").fetchall()
    store.close()
    assert rows == [
        ("token from 127.0.0.1", "mapping", "website.stock", "true", "false"),
        ("token from 127.0.0.1", "mapping", "website.stock", "false", "true"),
    ]


def test_an_edit_of_an_older_version_is_refused(own: FakeService) -> None:
    own.start().await_status("ok")
    etag = own.ask("/api/mappings", token=TOKEN).headers["etag"]
    first = patch(own, "website.stock", {"enabled": False}, If_Match=etag)
    assert (first.code, first.headers["etag"] != etag) == (200, True)
    late = patch(own, "crm.stock", {"enabled": False}, If_Match=etag)
    assert late.code == 412
    assert enabled(own, "crm.stock")
    assert patch(own, "crm.stock", {"enabled": False}, If_Match=first.headers["etag"]).code == 200


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b'{"enabled": false}', "application/x-www-form-urlencoded", 415),
        (b'{"enabled": false}', "text/plain", 415),
        (b'{"enabled": false}', "", 415),
        (b"enabled=false", "application/json", 400),
        (b'{"enabled": "no"}', "application/json", 400),
        (b'{"enabled": false, "x": 1}', "application/json", 400),
        (b"{}", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"enabled": false, "x": ' + b"[" * 60_000, "application/json", 400),
        (b" " * 70_000, "application/json", 413),
    ],
)
def test_what_is_not_a_toggle_is_refused(service: FakeService, body: bytes, kind: str, code: int) -> None:
    headers = {**bearer(TOKEN), "Content-Type": kind}
    assert service.ask("/api/mappings/crm.stock", "PATCH", headers=headers, body=body).code == code
    assert enabled(service, "crm.stock")


def test_compressed_bodies_are_refused(service: FakeService) -> None:
    headers = {**bearer(TOKEN), "Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert service.ask("/api/mappings/crm.stock", "PATCH", headers=headers, body=b"x").code == 415


def test_pausing_a_role_is_in_the_store_and_audited(own: FakeService) -> None:
    own.start().await_status("ok")
    headers = {**bearer(TOKEN), "Content-Type": "application/json"}
    assert own.ask("/api/channels/crm/pause", "POST", headers=headers, body=b'{"role": "apply"}').code == 200
    with sqlite3.connect(own.folder / "store.db") as store:
        assert store.execute("SELECT channel, role FROM datong_paused").fetchall() == [("crm", "apply")]
    store.close()
    assert own.ask("/api/channels/crm/pause", "POST", headers=headers, body=b'{"role": "x"}').code == 400
    assert own.ask("/api/channels/none/pause", "POST", headers=headers, body=b"{}").code == 404


def test_a_file_that_cannot_be_edited_is_told(own: FakeService) -> None:
    own.start().await_status("ok")
    path = own.folder / "datong.yaml"
    path.write_text(path.read_text() + "\nmappings: {}\n")
    own.await_status("degraded", saying="reload rejected")
    answer = patch(own, "crm.stock", {"enabled": False})
    assert answer.code == 409
    assert "error" in answer.json


# -- browsers (A3)


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{1}", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.evil"]
)
@pytest.mark.parametrize("path", ["/", "/api/status", "/healthz"])
def test_a_foreign_name_for_loopback_is_refused(service: FakeService, host: str, path: str) -> None:
    assert service.ask(path, headers={**bearer(TOKEN), "Host": host}).code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8080", "[::1]:8080", "127.0.0.2:1"])
def test_loopback_names_are_accepted(service: FakeService, host: str) -> None:
    assert service.ask("/api/status", headers={**bearer(TOKEN), "Host": host}).code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_writes_from_a_page_elsewhere_are_refused(service: FakeService, headers: dict[str, str]) -> None:
    said = {**bearer(TOKEN), "Content-Type": "application/json", **headers}
    assert service.ask("/api/mappings/crm.stock", "PATCH", headers=said, body=b'{"enabled": false}').code == 403
    assert enabled(service, "crm.stock")


def form(service: FakeService, path: str, fields: dict[str, str], **headers: str) -> Answer:
    said = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return service.ask(path, "POST", headers=said, body=urlencode(fields).encode())


def log_in(service: FakeService) -> str:
    answer = form(service, "/login", {"token": TOKEN})
    assert answer.code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    return cookie.partition(";")[0]


def csrf_of(page: Answer) -> str:
    return page.text.partition('name="csrf" value="')[2].partition('"')[0]


def test_the_page_logs_in_with_a_cookie_and_writes_with_its_csrf_token_only(own: FakeService) -> None:
    own.start().await_status("ok")
    assert 'type="password"' in own.ask("/").text
    assert form(own, "/login", {"token": "wrong"}).code == 401
    assert form(own, "/login", {"token": TOKEN}, Origin="https://evil.example").code == 403
    cookie = log_in(own)
    page = own.ask("/", headers={"Cookie": cookie})
    assert page.code == 200
    fields = {"mapping": "crm.stock", "enabled": "false"}
    assert form(own, "/page/toggle", fields, Cookie=cookie).code == 403
    assert form(own, "/page/toggle", {**fields, "csrf": "guess"}, Cookie=cookie).code == 403
    assert form(own, "/page/toggle", {**fields, "csrf": csrf_of(page)}).code == 401
    said = {"Cookie": cookie, "Content-Type": "application/json"}
    assert own.ask("/api/mappings/crm.stock", "PATCH", headers=said, body=b'{"enabled": false}').code == 403
    assert enabled(own, "crm.stock")
    assert form(own, "/page/toggle", {**fields, "csrf": csrf_of(page)}, Cookie=cookie).code == 303
    await_that(lambda: not enabled(own, "crm.stock"), message="in force")
    assert form(own, "/logout", {"csrf": csrf_of(page)}, Cookie=cookie).code == 303
    assert own.ask("/", headers={"Cookie": cookie}).code == 401


def test_without_a_token_loopback_is_open_and_still_guarded_against_other_pages(own: FakeService) -> None:
    path = own.folder / "datong.yaml"
    path.write_text(path.read_text().replace(f', token: "{TOKEN}"', ""))
    own.start().await_status("ok")
    assert own.ask("/api/status").code == 200
    assert own.ask("/api/status", headers={"Host": "evil.example"}).code == 421
    fields = {"mapping": "crm.stock", "enabled": "false"}
    assert form(own, "/page/toggle", fields).code == 403
    said = {"Content-Type": "application/json", "Origin": "https://evil.example"}
    assert own.ask("/api/mappings/crm.stock", "PATCH", headers=said, body=b'{"enabled": false}').code == 403
    page = own.ask("/")
    assert form(own, "/page/toggle", {**fields, "csrf": csrf_of(page)}).code == 303


def test_the_page_speaks_chinese_and_english(service: FakeService) -> None:
    chinese = service.ask("/", token=TOKEN, headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    assert "所有渠道同步正常" in chinese.text
    assert 'lang="zh"' in chinese.text
    assert "All channels are in step" in service.ask("/", token=TOKEN, headers={"Accept-Language": "fr"}).text
    chosen = service.ask("/?language=zh", token=TOKEN, headers={"Accept-Language": "en"})
    assert "渠道" in chosen.text
    assert "datong_language=zh" in chosen.headers["set-cookie"]


def test_names_and_reasons_are_escaped_on_the_page(own: FakeService) -> None:
    own.behave("apply.crm", state="halted", reason="<script>alert(1)</script>\"'")
    own.start().await_status("down", saying="alert(1)")
    text = own.ask("/", token=TOKEN).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


# -- abuse (A4)


def raw(service: FakeService, data: bytes, *, patience: float = 60) -> bytes:
    """Send bytes and read until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=patience) as client:
        client.sendall(data)
        while chunk := client.recv(65536):
            received += chunk
    return received


def test_a_slow_head_and_a_slow_body_are_timed_out(service: FakeService) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
    body = (
        f"PATCH /api/mappings/crm.stock HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with ThreadPoolExecutor(2) as both:  # each has its ten seconds
        answers = list(both.map(lambda data: raw(service, data), (head, body.encode())))
    assert [answer[:13] for answer in answers] == [b"HTTP/1.1 408 "] * 2


def test_ten_thousand_headers_are_refused(service: FakeService) -> None:
    head = (
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        try:
            client.sendall(head)
            assert client.recv(4096).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it did not read to the end, which is a refusal too
    assert service.ask("/healthz").code == 200


@pytest.mark.parametrize("path", [b"/\x00", b"/\xff\xfe", b"/a b"])
def test_a_path_that_is_none_is_a_bad_request(service: FakeService, path: bytes) -> None:
    answer = raw(service, b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_endless_body_is_cut_off_and_costs_no_memory(service: FakeService) -> None:
    pid = service.children()["admin"]

    def resident_kib() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    before, answer = resident_kib(), b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        head = (
            f"PATCH /api/mappings/crm.stock HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.sendall(head.encode())
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with pytest.raises(OSError):  # the server's end of it
            while True:
                client.sendall(chunk)
                if not answer:
                    client.setblocking(False)
                    with suppress(BlockingIOError):
                        answer = client.recv(4096)
                    client.settimeout(10)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert resident_kib() - before < 20_000
    assert service.ask("/healthz").code == 200


def test_sixteen_hundred_requests_of_four_clients_are_answered_from_memory(service: FakeService) -> None:
    """O7, on kept connections, the database of every channel out of reach. How fast it was is printed: usually over a thousand a second."""

    def hammer(_: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        took = []
        for _ in range(400):
            began = time.perf_counter()
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            response.read()
            took.append(time.perf_counter() - began)
            assert response.status == 200
        connection.close()
        return took

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        times = sorted(t for took in pool.map(hammer, range(4)) for t in took)
    rate = len(times) / (time.perf_counter() - began)
    p99 = times[int(len(times) * 0.99)]
    print(f"{rate:.0f} requests a second, p50 {times[len(times) // 2] * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
    assert service.ready() is not None
    assert request(service.port, "GET", "/readyz").code == 200
