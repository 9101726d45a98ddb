"""Toggles change one line of the file and nothing else, atomically, and never to something invalid."""

from __future__ import annotations

import os
import threading

import pytest

from config.edit import EditConflict, EditRefused, UnknownMapping, etag, set_mapping_enabled
from config.load import ConfigurationRefused, load
from tests.unit.configurations import ENVIRONMENT, SMALL


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "datong.yaml"
    path.write_text(SMALL)
    return path


def changed_lines(before, after):
    """The lines that are gone and the lines that are new."""
    before, after = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return [line for line in before if line not in after], [line for line in after if line not in before]


def test_a_written_switch_changes_its_own_line_only(file):
    assert set_mapping_enabled(file, "mini.orders", False, environment=ENVIRONMENT)
    gone, new = changed_lines(SMALL, file.read_text())
    assert gone == ["    enabled: true  # for now\n"]
    assert new == ["    enabled: false  # for now\n"]
    assert not load(file, ENVIRONMENT).mappings["mini.orders"].enabled
    assert set_mapping_enabled(file, "mini.orders", True, environment=ENVIRONMENT)
    assert file.read_text() == SMALL


def test_an_unwritten_switch_is_added_as_one_line(file):
    assert set_mapping_enabled(file, "shop.orders", False, environment=ENVIRONMENT)
    gone, new = changed_lines(SMALL, file.read_text())
    assert gone == []
    assert new == ["    enabled: false\n"]
    assert not load(file, ENVIRONMENT).mappings["shop.orders"].enabled


def test_what_is_so_already_writes_nothing(file):
    before = file.stat()
    assert not set_mapping_enabled(file, "shop.orders", True, environment=ENVIRONMENT)
    assert not set_mapping_enabled(file, "mini.orders", True, environment=ENVIRONMENT)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "mapping",
    [
        "  z.orders: {channel: shop, table: t, entity: order, columns: {a: order_no, b: line}}",
        "  z.orders: {channel: shop, enabled: true, table: t, entity: order, columns: {a: order_no, b: line}}",
        "  z.orders:\n      entity: order\n      columns: {a: order_no, b: line}\n      table: t\n      channel: shop",
        "  'z.orders':\n    columns: {a: order_no, b: line}\n    table: t\n    channel: shop\n    entity: order",
        "  z.orders:\n    columns: {a: order_no, b: line}\n    table: t\n    channel: shop\n    entity:\n      order",
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\n# the end\n"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_way_of_writing_a_mapping_can_be_edited(tmp_path, mapping, end, line_end):
    text = SMALL[: SMALL.index("  shop.orders:")] + "  # first\n" + mapping + end
    file = tmp_path / "datong.yaml"
    file.write_bytes(text.replace("\n", line_end).encode())
    assert set_mapping_enabled(file, "z.orders", False, environment=ENVIRONMENT)
    assert not load(file, ENVIRONMENT).mappings["z.orders"].enabled
    written = file.read_bytes().decode()
    assert "# first" in written
    assert (written.count("\n") == written.count("\r\n")) == (line_end == "\r\n")
    assert set_mapping_enabled(file, "z.orders", True, environment=ENVIRONMENT)
    assert load(file, ENVIRONMENT).mappings["z.orders"].enabled


def test_an_unknown_name_is_refused_with_a_hint(file):
    with pytest.raises(UnknownMapping, match=r"no mapping 'shop.order' - did you mean 'shop.orders'\?"):
        set_mapping_enabled(file, "shop.order", False, environment=ENVIRONMENT)
    assert file.read_text() == SMALL


def test_a_file_that_is_not_valid_is_not_touched(file):
    broken = SMALL.replace("field: status", "field: sttus")
    file.write_text(broken)
    with pytest.raises(ConfigurationRefused, match="sttus"):
        set_mapping_enabled(file, "shop.orders", False, environment=ENVIRONMENT)
    assert file.read_text() == broken
    file.write_text("a: [")
    with pytest.raises(EditRefused, match="not valid YAML"):
        set_mapping_enabled(file, "shop.orders", False, environment=ENVIRONMENT)


def test_an_editor_without_the_services_environment_may_toggle(file):
    assert set_mapping_enabled(file, "shop.orders", False, environment={})


def test_a_switch_that_comes_from_elsewhere_is_not_overwritten(file):
    file.write_text(SMALL.replace("enabled: true", 'enabled: "${ON}"'))
    with pytest.raises(EditRefused, match="change it there"):
        set_mapping_enabled(file, "mini.orders", False, environment=ENVIRONMENT | {"ON": "true"})


def test_permissions_stay_and_a_link_stays_a_link(file, tmp_path):
    file.chmod(0o640)
    link = tmp_path / "elsewhere" / "link.yaml"
    link.parent.mkdir()
    link.symlink_to(file)
    assert set_mapping_enabled(link, "shop.orders", False, environment=ENVIRONMENT)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o7777 == 0o640
    assert not load(file, ENVIRONMENT).mappings["shop.orders"].enabled
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["datong.yaml", "elsewhere"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_stays(file):
    os.chown(file, 12345, 54321)
    assert set_mapping_enabled(file, "shop.orders", False, environment=ENVIRONMENT)
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 54321)


def test_an_edit_of_an_older_file_is_refused(file):
    seen = etag(file)
    assert set_mapping_enabled(file, "shop.orders", False, environment=ENVIRONMENT, if_match=f'"{seen}"')
    with pytest.raises(EditConflict, match="has been changed"):
        set_mapping_enabled(file, "mini.orders", False, environment=ENVIRONMENT, if_match=seen)
    assert set_mapping_enabled(file, "mini.orders", False, environment=ENVIRONMENT, if_match=etag(file))


def test_two_editors_at_once_lose_nothing(file):
    failures = []

    def toggle(name):
        try:
            for turn in range(10):
                set_mapping_enabled(file, name, turn % 2 == 1, environment=ENVIRONMENT)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=toggle, args=(name,)) for name in ("shop.orders", "mini.orders")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(spec.enabled for spec in load(file, ENVIRONMENT).specs)
    assert file.read_text().replace("    enabled: true\n", "") == SMALL
