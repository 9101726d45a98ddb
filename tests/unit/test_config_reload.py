"""What a changed file means to a running service, and how the change is noticed."""

from __future__ import annotations

import os

import pytest

from config.edit import set_mapping_enabled
from config.load import ConfigurationRefused, parse
from config.reload import plan
from config.watch import ConfigWatch
from tests.unit.configurations import ENVIRONMENT, SMALL


def planned(*changes, environment=ENVIRONMENT):
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return plan(parse(SMALL, ENVIRONMENT), parse(text, environment))


def test_nothing_changed_is_an_empty_plan():
    assert planned(("# for now", "# for ever")).is_empty


def test_a_switch_is_told_from_a_change():
    switched = planned(("enabled: true", "enabled: false"))
    assert switched.disabled == {"mini.orders"}
    assert switched.mappings_changed == frozenset()
    assert switched.mappings_of("mini") == {"mini.orders"}
    assert switched.mappings_of("shop") == frozenset()
    changed = planned(("1: paid", "2: paid"))
    assert changed.mappings_changed == {"shop.orders"}
    assert changed.needs_restart == ""


def test_a_changed_entity_changes_all_its_mappings():
    changed = planned(("max_length: 32", "max_length: 33"))
    assert changed.mappings_changed == {"shop.orders", "mini.orders"}
    assert dict(changed.mappings_by_channel).keys() == {"shop", "mini"}


def test_a_channels_change_asks_for_its_roles_and_a_services_change_for_a_restart():
    assert planned(environment={"SHOP_PASSWORD": "rotated"}).channels_changed == {"shop"}
    restart = planned(("deployment: small", "deployment: other\nredis: {url: 'redis://r:1/0'}"))
    assert restart.service_changed == ("deployment", "redis")
    assert restart.needs_restart == "deployment, redis changed: restart the service to take that up"
    settings = planned(("deployment: small", "deployment: small\nhealth: {max_lag: 5s}"))
    assert settings.settings_changed == {"health"}


def test_channels_come_and_go():
    without = SMALL[: SMALL.index("  mini.orders:")].replace(
        "  mini:\n    url: postgresql://datong@127.0.0.1/mini\n", ""
    )
    old, new = parse(SMALL, ENVIRONMENT), parse(without, ENVIRONMENT)
    assert plan(old, new).channels_removed == {"mini"}
    assert plan(old, new).mappings_removed == {"mini.orders"}
    assert plan(new, old).channels_added == {"mini"}
    assert plan(new, old).mappings_added == {"mini.orders"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "datong.yaml"
    path.write_text(SMALL)
    return path


def test_a_watch_notices_an_edit_and_only_that(file):
    watch = ConfigWatch(file, ENVIRONMENT)
    assert watch.poll() is None
    set_mapping_enabled(file, "shop.orders", False, environment=ENVIRONMENT)
    found = watch.poll()
    assert found is watch.current
    assert not found.mappings["shop.orders"].enabled
    assert watch.poll() is None


def test_an_invalid_file_leaves_the_old_configuration(file):
    watch = ConfigWatch(file, ENVIRONMENT)
    old = watch.current
    file.write_text(SMALL.replace("field: status", "field: sttus").replace("channel: shop", "channel: shp"))
    assert watch.poll() is None
    assert watch.current is old
    assert watch.error == "mappings.shop.orders.channel: no channel 'shp' - did you mean 'shop'? (and 1 more)"
    file.unlink()
    assert watch.poll() is None
    assert "cannot be read" in watch.error
    file.write_text(SMALL)
    assert watch.poll() is None
    assert watch.error is None


def test_writes_of_one_moment_and_one_size_are_told_apart(file):
    watch = ConfigWatch(file, ENVIRONMENT)
    for level in range(8):
        before = file.stat()
        with file.open("r+") as opened:
            opened.write(SMALL.replace("max_length: 32", f"max_length: {40 + level}"))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        found = watch.poll()
        assert found is not None
        assert found.entities()["order"].fields[0].max_length == 40 + level


def test_a_rotated_secret_is_noticed(file, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("first")
    file.write_text(SMALL.replace("${SHOP_PASSWORD}", f"${{file:{secret}}}"))
    watch = ConfigWatch(file, {})
    assert watch.poll() is None
    secret.write_text("second one")
    found = watch.poll()
    assert found.channels["shop"].password.get_secret_value() == "second one"
    secret.unlink()
    assert watch.poll() is None
    assert f"file {secret} cannot be read" in watch.error
    secret.write_text("third")
    assert watch.poll().channels["shop"].password.get_secret_value() == "third"


def test_a_watch_does_not_start_on_an_invalid_file(file):
    file.write_text("nothing")
    with pytest.raises(ConfigurationRefused):
        ConfigWatch(file, ENVIRONMENT)
