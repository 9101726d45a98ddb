"""`datong demo`: the command. Ends everything it started, by whatever it is ended: Ctrl-C, SIGTERM, a closed terminal, an error."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

import psycopg
import pymysql
from redis.exceptions import RedisError

from cdc.demo.check import CheckOptions, OutOfTime, check, say
from cdc.demo.live import LiveOptions, live
from cdc.demo.servers import ServerFailed, ServerMissing
from cdc.demo.service import ServiceFailed
from cdc.demo.verdict import Result
from cdc.sabotage import KINDS

_DEADLINE_SECONDS: Final = 54  # the rest of the minute is for tidying up
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """Somebody asked us to end. Not an Exception: nothing on the way out may take it for an error to get over."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str]) -> int:
    """Answer the exit code: 0 it held, or somebody ended it; 1 it did not hold or did not work."""
    options = _parser().parse_args(arguments)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    if options.check:
        return _check(CheckOptions(seed, options.transactions, options.sabotage, options.keep))
    return _live(LiveOptions(seed, options.seconds, options.keep))


def _check(options: CheckOptions) -> int:
    """The JSON object is the last line, whatever happens."""
    result = Result(options.seed)
    try:
        with _ended_by_signals(_DEADLINE_SECONDS):
            check(options, result)
    except Ended as ended:
        result.error = f"ended by {signal.Signals(ended.number).name}"
    except (ServerMissing, ServerFailed, ServiceFailed, OutOfTime) as error:
        result.error = str(error).splitlines()[0].rstrip(":")
        say(str(error))
    except Exception as error:  # noqa: BLE001 - what it was is told, in the result and in the exit code
        result.error = f"{type(error).__name__}: {error}".splitlines()[0]
    print(json.dumps(result.document()), flush=True)
    return 0 if result.ok else 1


def _live(options: LiveOptions) -> int:
    try:
        with _ended_by_signals(None):
            live(options)
    except Ended:
        return 0
    except ServerMissing as error:
        print(f"datong demo: {error}; `make demo` does that first", file=sys.stderr)
        return 1
    except (ServerFailed, ServiceFailed) as error:
        print(f"datong demo: {error}", file=sys.stderr)
        return 1
    except (psycopg.Error, pymysql.Error, RedisError, OSError) as error:
        print(f"datong demo: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _ended_by_signals(seconds: int | None) -> Iterator[None]:
    """Turn the first signal into `Ended`; those that come while we tidy up change nothing. After `seconds`, OutOfTime."""
    ending = False

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        if ending:
            return
        ending = True
        if number == signal.SIGALRM:
            raise OutOfTime(f"not done after {seconds} s")
        raise Ended(number)

    before = {number: signal.signal(number, end) for number in (*_ENDS, signal.SIGALRM)}
    signal.alarm(seconds or 0)
    try:
        yield
    finally:
        ending = True
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="datong demo",
        description="Three private databases with live traffic, replicated both ways by a service of their own. Ctrl-C ends it all.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--check", action="store_true", help="headless and bounded: verify, and print one JSON object as the last line"
    )
    parser.add_argument("--seed", type=int, help="of the random workload (default: a new one, shown)")
    parser.add_argument(
        "--transactions",
        type=_positive,
        default=300,
        metavar="N",
        help="with --check: random transactions per side (%(default)s)",
    )
    parser.add_argument("--sabotage", choices=KINDS, help="with --check: break the run on purpose; it has to fail")
    parser.add_argument("--seconds", type=_positive, metavar="N", help="end by itself after so long")
    parser.add_argument(
        "--keep", action="store_true", help="leave the folder (configuration, logs, data) for a look afterwards"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
