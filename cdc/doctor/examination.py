"""`datong doctor`: everything of a deployment is asked and judged; `fix` runs what may be run. Guards I1, I2, I7, I9.

Examining changes nothing anywhere. Fixing runs only the statements of findings that say `fixable`, exactly as printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pymysql

from cdc.addresses import redis_address
from cdc.doctor import deployment_checks, generated_keys, redis_checks, store_checks
from cdc.doctor.channels import examine_channel, run_statements
from cdc.doctor.facts import Wish
from cdc.doctor.finding import Finding, in_order, is_statement
from cdc.doctor.wishes import wishes
from cdc.errors import HaltError, TransientError
from config.models import Configuration
from sinks.classification import mysql_error, postgresql_error

_AT_ONCE = 8


def examine(configuration: Configuration) -> list[Finding]:
    """Connect to everything and say what is missing. Never raises for what a server does or is."""
    asked = wishes(configuration, _started(configuration))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(examine_channel, asked))
    findings = [*_redis(configuration), *_store(configuration)]
    findings += [finding for found, _ in answers for finding in found]
    servers = {wish.channel: facts for wish, (_, facts) in zip(asked, answers, strict=True) if facts is not None}
    findings += deployment_checks.check_distinct_databases(servers)
    findings += deployment_checks.check_clocks(servers)
    findings += deployment_checks.check_mappings_together(asked, servers)
    findings += generated_keys.check_generated_keys(asked, servers)
    return in_order(findings)


def fix(configuration: Configuration, findings: Iterable[Finding]) -> list[Finding]:
    """Run what may be run and answer what is left: examined anew, with a FIX_FAILED for each statement that was refused."""
    mendable = [finding for finding in findings if finding.fixable]
    failed: list[Finding] = []
    for wish in wishes(configuration, _started(configuration)):
        for finding in mendable:
            if finding.channel == wish.channel:
                failed += _mend(wish, finding)
    return in_order([*examine(configuration), *failed])


def _mend(wish: Wish, finding: Finding) -> Iterator[Finding]:
    statements = [line for line in finding.mend if is_statement(line)]
    try:
        run_statements(wish, statements)
    except (pymysql.err.MySQLError, OSError) as error:
        why = str(mysql_error(error, finding.code))
    except psycopg.Error as error:
        why = str(postgresql_error(error, finding.code))
    else:
        return
    yield wish.finding("FIX_FAILED", "error", f"could not mend {why}", statements, path=finding.path)


def _started(configuration: Configuration) -> frozenset[str]:
    url = store_url(configuration)
    return store_checks.started_channels(url, configuration.deployment, list(configuration.channels))


def _redis(configuration: Configuration) -> Iterator[Finding]:
    try:
        facts = redis_checks.gather_redis(redis_address(configuration))
    except (HaltError, TransientError) as error:
        yield redis_checks.redis_out_of_reach(error)
        return
    yield from redis_checks.check_redis(facts, configuration.change_log.max_bytes)


def _store(configuration: Configuration) -> Iterator[Finding]:
    url = store_url(configuration)
    file = store_checks.sqlite_file(url)
    if file is not None:
        yield from store_checks.check_store_file(store_checks.gather_store_file(file))
    else:
        yield from store_checks.check_store_server(url, configuration.deployment)


def store_url(configuration: Configuration) -> str:
    return configuration.store.url.get_secret_value()
