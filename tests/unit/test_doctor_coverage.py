"""Doctor covers TRAPS.md's whole list; every item is set wrong somewhere, and has to be named.

MySQL, MariaDB (tests/integration/test_doctor.py sets each wrong on real servers and runs its mending statement)
  log_bin, binlog_do_db, binlog_ignore_db       test_no_binary_log_and_a_filter_of_it_are_named_with_the_configuration_line
  binlog_format, row_image, row_metadata, row_value_options, order_commits, sync_binlog, retention, server_id, read_only
                                                test_a_variable_set_wrong_is_named_and_its_statement_mends_it
  the provider's own retention, semi-sync, a replica, a proxy, gtid_mode     tests/unit/test_doctor_mysql.py; test_gtid_mode_off_...
  grants                                        test_each_grant_taken_away_is_named_and_its_statement_gives_it_back
  transactional, key, cascade                   test_a_table_made_wrong_is_named_and_its_statement_mends_it
  triggers                                      test_a_trigger_on_a_mapped_table_is_a_warning_where_it_may_be_seen
PostgreSQL
  wal_level, slots, max_slot_wal_keep_size      test_wal_level_full_slots_small_retention_and_a_lost_slot
  publication (tables, ours, row filter, columns, operations), replica identity, role, timeouts, cascade
                                                test_what_is_set_wrong_in_postgresql_is_named_and_its_statement_mends_it
  senders, encoding, synchronous_standby_names, failover slots, a standby, a proxy     tests/unit/test_doctor_postgresql.py
Redis: reachable, refused, noeviction, persistence     test_redis_is_told_to_keep_what_it_has, tests/unit/test_doctor_findings.py, below
Ours: columns exist and convert, keys exist            test_a_table_or_column_that_does_not_exist_is_named, test_a_table_made_wrong_...
  round trip of two-way transforms                     below
  clock skew, one database twice, the hub store        tests/unit/test_doctor_findings.py, below
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from cdc.doctor.redis_checks import redis_out_of_reach
from cdc.doctor.round_trips import check_round_trips
from cdc.doctor.store_checks import check_store_server
from cdc.errors import HaltError
from tests.unit.doctor_facts import members, mysql_facts, only, postgresql_facts, wish
from transforms import compile_mapping
from transforms.specs import TransformSpec
from transforms.values import RefusedValueError

ROOT = Path(__file__).parents[2]
_CODE = re.compile(r'(?:finding|Finding|Setting|_finding)\(\s*"([A-Z][A-Z_]+)"')


def test_every_finding_has_a_negative_test() -> None:
    codes = {code for path in (ROOT / "cdc/doctor").glob("*.py") for code in _CODE.findall(path.read_text())}
    assert len(codes) > 45, sorted(codes)
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*/test_doctor*.py"))
    assert sorted(code for code in codes if f'"{code}"' not in tests) == []


def compiled(**changes: Any) -> Any:
    spec = dataclasses.replace(wish().mappings[0], **changes)
    return compile_mapping(spec, members("mariadb").catalog, capture=True, apply=True)


def test_transforms_that_invert_each_other_give_every_sample_back() -> None:
    usual = wish().mappings[0]
    prefixed = dataclasses.replace(usual.columns[1], transforms=(TransformSpec("prefix", "VIP-"),))
    assert list(check_round_trips(wish(), compiled(columns=(usual.columns[0], prefixed)))) == []


def test_a_transform_that_only_says_it_is_invertible_is_an_error_at_its_column() -> None:
    """As one of a user's own may be: it lowers letters on the way in."""
    made = compiled()
    bent = dataclasses.replace(made.columns[1], decode=lambda value: str(value).lower())
    finding = only(check_round_trips(wish(), dataclasses.replace(made, columns=(made.columns[0], bent))))
    assert (finding.code, finding.severity, finding.path) == (
        "ROUND_TRIP",
        "error",
        "mappings.website.members.columns.nick",
    )
    assert "direction" in finding.mend[0]
    one_way = dataclasses.replace(made.spec, direction="apply")
    assert list(check_round_trips(wish(), dataclasses.replace(made, spec=one_way, columns=(bent,)))) == []


def test_a_sample_that_is_refused_is_no_finding() -> None:
    def refuse(_value: object) -> Any:
        raise RefusedValueError("nick", "does not fit")

    made = compiled()
    assert (
        list(
            check_round_trips(
                wish(), dataclasses.replace(made, columns=(dataclasses.replace(made.columns[1], encode=refuse),))
            )
        )
        == []
    )


def test_a_redis_that_refuses_us_is_named_with_what_mends_it() -> None:
    finding = redis_out_of_reach(
        HaltError("REDIS_REFUSED", "127.0.0.1:6379 refuses this password", "the right password")
    )
    assert (finding.code, finding.mend) == ("REDIS_REFUSED", ["redis.url: the right password"])


def test_a_hub_store_out_of_reach_is_named() -> None:
    finding = only(check_store_server("postgresql://datong:canary-word@127.0.0.1:1/hub", "coffee"))
    assert finding.code == "STORE_UNREACHABLE"
    assert finding.mend
    assert "canary-word" not in repr(finding)


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_semi_sync_is_advised_and_never_a_statement_to_be_run_as_it_is(flavour: Any) -> None:
    from cdc.doctor.channels import judge
    from cdc.doctor.finding import is_statement

    off = {"rpl_semi_sync_source_enabled": "OFF", "rpl_semi_sync_master_enabled": "OFF"}
    finding = only(judge(wish(flavour), mysql_facts(flavour, off)))
    assert finding.code == "SEMI_SYNC"
    assert "rpl_semi_sync" in finding.mend[0]
    assert not is_statement(finding.mend[0])


def test_a_slot_that_does_not_fail_over_is_told_how_it_would() -> None:
    from cdc.doctor.channels import judge

    facts = postgresql_facts()
    assert facts.slot is not None
    slot = dataclasses.replace(facts.slot, failover=False)
    finding = only(judge(wish("postgresql"), dataclasses.replace(facts, slot=slot)))
    assert finding.code == "SLOT_FAILOVER"
    assert "FAILOVER true" in finding.mend[0]


@pytest.mark.parametrize("flavour", ["mariadb", "postgresql"])
def test_a_statement_that_could_not_be_run_is_said_with_the_statement(flavour: Any) -> None:
    from cdc.doctor.examination import _mend
    from sinks.connections import Address

    address = Address(flavour, "127.0.0.1", 1, "datong", "shop", "canary-word")
    there = wish(flavour, address=address)
    finding = only(
        _mend(there, there.finding("PROGRESS_TABLE", "error", "missing", ["CREATE TABLE t (id INT);"], fixable=True))
    )
    assert (finding.code, finding.mend) == ("FIX_FAILED", ["CREATE TABLE t (id INT);"])
    assert "canary-word" not in repr(finding)
