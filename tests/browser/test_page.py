"""The admin page in a real browser: it renders, its style and script are allowed by its own policy, and it follows what changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_admin import FILE
from tests.service import FakeService

# Without a token, so that a browser that is only given an address sees the page itself.
OPEN_FILE = FILE.replace(', token: "canary-token-7c1f"', "")


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "install chromium: apt-get install chromium"
    return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    made = FakeService(tmp_path)
    made.use_file(OPEN_FILE.replace("FOLDER", str(tmp_path)))
    made.behave(
        "capture.website",
        state="running",
        rows=128_412,
        transactions=40_001,
        echoes=38_200,
        position="mysql-bin.000004:18230045",
    )
    made.behave("apply.website", state="idle", rows=91_030, positions={"crm": "0/19A3F20"})
    made.behave("capture.crm", state="idle", rows=91_030, position="0/19A3F20", retained_bytes=18_400_000)
    made.behave(
        "apply.crm", state="running", rows=128_400, lag_seconds=0.21, parked=3, positions={"website": "18230045-12"}
    )
    made.start().await_status("degraded", saying="3 parked")
    yield made
    made.stop()


def browse(chromium: str, url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={folder}/profile",
            "--window-size=1280,900",
            "--virtual-time-budget=4000",
            *options,
            url,
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )


def photograph(chromium: str, url: str, folder: Path, picture: Path, *options: str) -> None:
    """Take a picture. Chromium ends now and then with exit code 0 and none (seen once in some hundred starts): it is asked again."""
    said = ""
    for attempt in range(3):
        said = browse(chromium, url, folder / str(attempt), f"--screenshot={picture}", *options).stderr
        if picture.exists():
            return
    pytest.fail(f"no picture of {url}: {said}")


def screenshots() -> Path | None:
    kept = os.environ.get("DATONG_SCREENSHOTS")
    return Path(kept) if kept else None


def test_the_page_renders_with_its_own_style_and_script(service: FakeService, chromium: str, tmp_path: Path) -> None:
    shown = browse(chromium, f"http://127.0.0.1:{service.port}/?language=en", tmp_path, "--dump-dom")
    assert "Content Security Policy" not in shown.stderr, shown.stderr
    assert "website" in shown.stdout
    assert "3 parked" in shown.stdout
    assert "128,412" in shown.stdout
    assert 'class="stale"' not in shown.stdout


@pytest.mark.parametrize(
    ("name", "query", "options"),
    [
        ("light-en", "language=en", []),
        ("dark-zh", "language=zh", ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]),
    ],
)
def test_a_screenshot_is_more_than_an_empty_page(
    service: FakeService, chromium: str, tmp_path: Path, name: str, query: str, options: list[str]
) -> None:
    picture = (screenshots() or tmp_path) / f"page-{name}.png"
    photograph(chromium, f"http://127.0.0.1:{service.port}/?{query}", tmp_path, picture, *options)
    assert picture.stat().st_size > 20_000


def test_the_login_page_renders(service: FakeService, chromium: str, tmp_path: Path) -> None:
    path = service.folder / "datong.yaml"
    path.write_text(FILE.replace("FOLDER", str(service.folder)).replace("PORT", str(service.port)))
    from tests.waiting import await_that

    await_that(lambda: service.ask("/").code == 401)
    picture = (screenshots() or tmp_path) / "page-login.png"
    photograph(chromium, f"http://127.0.0.1:{service.port}/", tmp_path, picture)
    assert picture.stat().st_size > 5_000
