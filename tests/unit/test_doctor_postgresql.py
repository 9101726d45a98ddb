"""What the doctor makes of a PostgreSQL server that lacks one thing."""

import dataclasses

import pytest

from cdc.doctor.channels import judge
from cdc.doctor.facts import Publication, Slot
from cdc.foreign_keys import ForeignKey
from tests.unit.doctor_facts import members, only, own_table, postgresql_facts, wish

PUBLICATION = 'ALTER PUBLICATION "datong_coffee_website" ADD TABLE "public"."members";'
SLOT = postgresql_facts().slot
PUBLISHED = postgresql_facts().publication
assert isinstance(SLOT, Slot)
assert isinstance(PUBLISHED, Publication)


def findings(facts, **changes):
    return list(judge(wish("postgresql", **changes), facts))


def test_a_server_that_lacks_nothing_has_no_finding():
    assert findings(postgresql_facts()) == []


@pytest.mark.parametrize(
    ("settings", "code", "severity", "mend"),
    [
        ({"wal_level": "replica"}, "WAL_LEVEL", "error", "ALTER SYSTEM SET wal_level = 'logical';"),
        ({"max_slot_wal_keep_size": "-1"}, "SLOT_WAL_UNLIMITED", "warning", "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB';"),
        ({"max_slot_wal_keep_size": "64"}, "SLOT_WAL_SMALL", "warning", "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB';"),
        ({"synchronous_standby_names": "*"}, "SYNCHRONOUS_STANDBY", "info", None),
        ({"idle_session_timeout": "60000"}, "TIMEOUT_SET", "warning", 'ALTER ROLE "datong" SET idle_session_timeout = 0;'),
        ({"statement_timeout": "1000"}, "TIMEOUT_SET", "warning", 'ALTER ROLE "datong" SET statement_timeout = 0;'),
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_named_with_what_sets_it_right(settings, code, severity, mend):
    finding = only(findings(postgresql_facts(settings)))
    assert (finding.code, finding.severity) == (code, severity)
    assert mend in finding.mend or mend is None


@pytest.mark.parametrize(
    ("changes", "code", "mend"),
    [
        ({"encoding": "EUC_CN"}, "ENCODING", None),
        ({"in_recovery": True}, "REPLICA", None),
        ({"may_replicate": False}, "REPLICATION_ROLE", 'ALTER ROLE "datong" REPLICATION;'),
        ({"may_replicate": False, "replication_role": "rds_replication"}, "REPLICATION_ROLE", 'GRANT "rds_replication" TO "datong";'),
        ({"slot": None}, "SLOT_MISSING", "SELECT pg_create_logical_replication_slot('datong_coffee_website', 'pgoutput');"),
        ({"slots_used": 10, "slot": None}, "SLOTS_FULL", "ALTER SYSTEM SET max_replication_slots = 20;"),
        ({"senders_used": 10}, "SENDERS_FULL", "ALTER SYSTEM SET max_wal_senders = 20;"),
        ({"slot": dataclasses.replace(SLOT, plugin="wal2json")}, "SLOT_FOREIGN", "SELECT pg_drop_replication_slot('datong_coffee_website');"),
        ({"slot": dataclasses.replace(SLOT, wal_status="lost")}, "SLOT_LOST", "SELECT pg_drop_replication_slot('datong_coffee_website');"),
        ({"slot": dataclasses.replace(SLOT, wal_status="unreserved")}, "SLOT_UNRESERVED", "ALTER SYSTEM SET max_slot_wal_keep_size = '-1';"),
        ({"slot": dataclasses.replace(SLOT, failover=False)}, "SLOT_FAILOVER", None),
        ({"version": "12.22", "version_number": 120022}, "VERSION", None),
        ({"proxied": True}, "PROXY", None),
    ],
)  # fmt: skip
def test_what_a_server_or_role_lacks_is_named_with_what_mends_it(changes, code, mend):
    found = {finding.code: finding for finding in findings(postgresql_facts(**changes))}
    assert code in found
    assert set(found) <= {code, "SLOT_MISSING"}
    assert mend in found[code].mend or mend is None


def test_our_own_slot_and_sender_need_no_free_place():
    active = dataclasses.replace(SLOT, active=True)
    assert findings(postgresql_facts(slots_used=10, senders_used=10, slot=active)) == []


def test_a_slot_that_was_there_once_is_never_offered_to_be_made_again():
    finding = only(findings(postgresql_facts(slot=None), started=True))
    assert (finding.code, finding.fixable) == ("SLOT_LOST", False)
    assert not any("pg_create" in line for line in finding.mend)
    assert only(findings(postgresql_facts(slot=None))).fixable


def test_messages_in_the_log_came_with_version_14():
    old = postgresql_facts(version="13.21", version_number=130021)
    assert findings(old) == []
    finding = only(findings(old, bookkeeping="none"))
    assert (finding.code, finding.mend) == ("VERSION", ["channels.website.bookkeeping: table"])


@pytest.mark.parametrize(
    ("publication", "said"),
    [
        (dataclasses.replace(PUBLISHED, tables=PUBLISHED.tables - {("public", "members")}), "leaves out public.members"),
        (dataclasses.replace(PUBLISHED, tables=frozenset({("public", "members")})), "leaves out public.datong_parked, public.datong_progress"),
        (dataclasses.replace(PUBLISHED, filtered=frozenset({("public", "datong_progress")})), "row filter or column list on public.datong_progress"),
        (dataclasses.replace(PUBLISHED, operations=frozenset({"insert", "truncate"})), "does not publish delete, update"),
        (dataclasses.replace(PUBLISHED, via_root=False), "partitions"),
    ],
)  # fmt: skip
def test_a_publication_that_is_incomplete_says_in_what(publication, said):
    facts = postgresql_facts(publication=publication, publication_statements=(PUBLICATION,))
    finding = only(findings(facts))
    assert (finding.code, finding.severity, finding.fixable) == ("PUBLICATION_INCOMPLETE", "error", True)
    assert said in finding.text
    assert finding.mend == [PUBLICATION]


def test_a_publication_that_we_may_not_make_is_left_to_who_may():
    missing = postgresql_facts(publication=None, publication_statements=("CREATE PUBLICATION x;",))
    assert only(findings(missing)).fixable
    for lacking in ({"may_create_in_database": False}, {"not_ours": frozenset({("public", "members")})}):
        finding = only(findings(dataclasses.replace(missing, **lacking)))
        assert (finding.code, finding.fixable, finding.mend) == (
            "PUBLICATION_MISSING",
            False,
            ["CREATE PUBLICATION x;"],
        )
        assert "superuser" in finding.text


def with_members(**changes):
    own = {("public", name): own_table("public", name) for name in ("datong_progress", "datong_parked")}
    return postgresql_facts(tables={("public", "members"): members("postgresql", **changes), **own})


@pytest.mark.parametrize(
    ("changes", "code", "severity", "mend"),
    [
        ({"replica_identity": "n"}, "REPLICA_IDENTITY", "error", 'ALTER TABLE "public"."members" REPLICA IDENTITY FULL;'),
        ({"replica_identity": "d"}, "REPLICA_IDENTITY", "warning", 'ALTER TABLE "public"."members" REPLICA IDENTITY FULL;'),
        ({"unlogged": True}, "UNLOGGED", "error", 'ALTER TABLE "public"."members" SET LOGGED;'),
        ({"kind": "view"}, "NOT_A_TABLE", "error", None),
        ({"triggers": ("audit",)}, "TRIGGER", "warning", None),
        ({"privileges": frozenset({"SELECT", "INSERT"})}, "GRANT_MISSING", "error", 'GRANT UPDATE, DELETE ON "public"."members" TO "datong";'),
        ({"catalog": {"primary_key": ("id",)}}, "KEY_NOT_UNIQUE", "error", 'ALTER TABLE "public"."members" ADD CONSTRAINT "members_phone_key" UNIQUE ("phone");'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mapped_table_is_named(changes, code, severity, mend):
    finding = only(findings(with_members(**changes)))
    assert (finding.code, finding.severity, finding.path.split(".")[0]) == (code, severity, "mappings")
    assert mend in finding.mend or mend is None


def test_what_needs_the_row_before_makes_it_an_error():
    facts = with_members(replica_identity="d")
    mappings = tuple(dataclasses.replace(mapping, where={"shop_id": 7}) for mapping in wish("postgresql").mappings)
    found = {f.code: f for f in findings(facts, mappings=mappings)}
    assert found["REPLICA_IDENTITY"].severity == "error"
    assert "and where needs them" in found["REPLICA_IDENTITY"].text


def test_without_a_key_the_default_replica_identity_makes_updates_fail():
    found = {f.code: f.severity for f in findings(with_members(replica_identity="d", catalog={"primary_key": ()}))}
    assert found["REPLICA_IDENTITY"] == "error"


def test_a_cascade_writes_more_rows_than_arrive():
    key = ForeignKey("fk", ("public", "members"), ("nick",), ("public", "members"), ("phone",), "SET NULL", "NO ACTION")
    finding = only(findings(with_members(foreign_keys=(key,))))
    assert (finding.code, finding.severity) == ("CASCADE", "warning")
    assert finding.mend[0] == 'ALTER TABLE "public"."members" DROP CONSTRAINT "fk";'
    kept = dataclasses.replace(key, on_delete="RESTRICT")
    assert findings(with_members(foreign_keys=(kept,))) == []


def test_tables_of_ours_that_are_missing_are_made_or_left_to_who_may():
    tables = {("public", "members"): members("postgresql")}
    progress, parked = findings(postgresql_facts(tables=tables))
    assert (progress.code, progress.fixable, parked.code, parked.fixable) == (
        "PROGRESS_TABLE",
        True,
        "PARKED_TABLE",
        True,
    )
    assert parked.mend[-1] == "ALTER TABLE public.datong_parked REPLICA IDENTITY FULL;"
    progress, _ = findings(postgresql_facts(tables=tables, may_create_in_public=False))
    assert not progress.fixable
    assert progress.mend[-1] == 'ALTER TABLE public.datong_progress OWNER TO "datong";'


def test_the_parked_table_needs_its_whole_rows_in_the_log():
    facts = postgresql_facts()
    parked = dataclasses.replace(own_table("public", "datong_parked"), replica_identity="d")
    finding = only(findings(dataclasses.replace(facts, tables={**facts.tables, ("public", "datong_parked"): parked})))
    assert finding.code == "PARKED_IDENTITY"
    assert finding.mend == ["ALTER TABLE public.datong_parked REPLICA IDENTITY FULL;"]
