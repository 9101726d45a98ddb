"""The hooks that break the service on purpose: dead unless armed, and then exactly as often as they say."""

from pathlib import Path

import pytest

from cdc.sabotage import ACTIVE, VARIABLE, Sabotage, from_environment


def test_nothing_happens_in_a_process_that_was_not_armed() -> None:
    assert not ACTIVE.kind
    assert not ACTIVE.forgets_echo()
    assert not ACTIVE.drops_change()
    assert ACTIVE.bends_value(1000) == 1000


def test_a_guard_that_forgets_forgets_always(tmp_path: Path) -> None:
    armed = Sabotage(f"loop:{tmp_path / 'once'}")
    assert [armed.forgets_echo() for _ in range(3)] == [True, True, True]
    assert not armed.drops_change()
    assert armed.bends_value(1000) == 1000


def test_one_change_is_dropped_in_the_whole_service(tmp_path: Path) -> None:
    processes = [Sabotage(f"loss:{tmp_path / 'once'}") for _ in range(3)]
    assert [process.drops_change() for process in processes for _ in range(2)].count(True) == 1
    assert not any(process.forgets_echo() for process in processes)


def test_one_value_is_bent_in_the_whole_service(tmp_path: Path) -> None:
    processes = [Sabotage(f"value:{tmp_path / 'once'}") for _ in range(2)]
    assert [process.bends_value(1000) for process in processes for _ in range(2)] == [1001, 1000, 1000, 1000]


@pytest.mark.parametrize("value", ["gold", None, True, 2, 1_763_000_000_000, b"x"])
def test_codes_times_and_texts_are_left_alone(tmp_path: Path, value: object) -> None:
    armed = Sabotage(f"value:{tmp_path / 'once'}")
    assert armed.bends_value(value) is value
    assert armed.bends_value(1000) == 1001


@pytest.mark.parametrize("wrong", ["loops:/tmp/x", "loop", "loss:", ":/tmp/x"])
def test_a_misspelt_sabotage_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=VARIABLE):
        from_environment({VARIABLE: wrong})
