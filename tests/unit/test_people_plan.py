"""In which order people are written: who is new comes first, what refers to nobody here waits, nothing overtakes its own key."""

from cdc.apply.people_plan import Planner
from cdc.model import Change, Layout
from transforms import compile_mapping
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, IdentitySpec, MappingSpec
from transforms.tables import Column, ColumnType, Table

INT = ColumnType("postgresql", "int4")
MEMBER = EntitySpec("member", (), (FieldSpec("nick", "text"), FieldSpec("inviter", "reference", to="member")), IdentitySpec(("nick",)))  # fmt: skip
ORDER = EntitySpec("order", ("no",), (FieldSpec("no", "text", required=True), FieldSpec("member", "reference", to="member")))  # fmt: skip
PERSON = Layout("web.members", "member", ("nick", "inviter"))
NICK = Layout("web.members", "member", ("nick",))
BOUGHT = Layout("web.orders", "order", ("no", "member"))


def compiled(entity, table, key, columns):
    spec = MappingSpec(
        f"mini.{table}", "mini", "postgresql", None, table, entity, "both",
        tuple(ColumnSpec(name, name) for name in columns if name != "id"), key,
    )  # fmt: skip
    kinds = tuple(
        Column(n, INT if n in ("id", "inviter", "member") else ColumnType("postgresql", "text")) for n in columns
    )
    return compile_mapping(spec, Table("public", table, kinds, key), capture=True, apply=True)


MAPPINGS = {
    "member": compiled(MEMBER, "members", ("id",), ("id", "nick", "inviter")),
    "order": compiled(ORDER, "orders", ("no",), ("no", "member")),
}


class Known:
    """The people who have a row here already; from 100 on they are forgotten."""

    def __init__(self, *people):
        self.people = {person: (person + 1000,) for person in people}

    def forgotten(self, people):
        return {person for person in people if person >= 100}

    def keys(self, people):
        return {person: self.people[person] for person in people if person in self.people}

    references = keys


def plan(*work, here=(), waiting=()):
    parked = []
    made = Planner(lambda: MAPPINGS, Known(*here)).plan(
        list(work), lambda at: at in waiting, lambda at, reason, _: parked.append((at, reason))
    )
    return [(segment.creates, segment.rest) for segment in made.segments], parked


def new(person, inviter=None):
    return (PERSON, Change(0, "insert", 0, (person,), ("x", inviter)))


def renamed(person):
    return (NICK, Change(0, "update", 0, (person,), ("y",)))


def gone(person):
    return (PERSON, Change(0, "delete", 0, (person,), ()))


def bought(number, person):
    return (BOUGHT, Change(0, "insert", 0, (number,), (number, person)))


def test_new_people_come_before_what_refers_to_them():
    assert plan(new(1), bought("A", 1), new(2, inviter=1), bought("B", 2)) == ([([0, 2], [1, 3])], [])


def test_a_new_row_may_refer_to_itself_and_is_written_twice():
    made = Planner(lambda: MAPPINGS, Known()).plan([new(1, inviter=1), new(2)], lambda _: False, None)
    assert [(segment.creates, segment.rest) for segment in made.segments] == [([0, 1], [])]
    assert len(made) == 3


class Merged(Known):
    """Person 7 was merged: references to him name another one's row, and he has none of his own."""

    def references(self, people):
        return self.keys(people) | {person: (1001,) for person in people if person == 7}


def test_a_reference_waits_for_a_row_that_it_can_name_and_a_change_of_somebody_for_his_own():
    planner = Planner(lambda: MAPPINGS, Merged(1))
    order, renaming = planner.awaited(*bought("A", 7)), planner.awaited(*renamed(7))
    settled = planner.settled([order, renaming, planner.awaited(*renamed(100))])
    assert order.referred <= settled.referred
    assert not renaming.own <= settled.own
    assert 100 in settled.own, "never to come"


def test_what_is_told_of_somebody_forgotten_is_dropped_and_what_refers_to_him_is_refused():
    work = [new(100), renamed(101), gone(102), bought("A", 100), new(1, inviter=100), bought("B", 1)]
    assert plan(*work) == ([([], [])], [(3, "refused"), (4, "refused"), (5, "missing_reference")])


def test_who_is_here_is_changed_and_not_created():
    assert plan(new(1), renamed(1), here=[1]) == ([([], [0, 1])], [])


def test_what_refers_to_nobody_here_waits_and_the_rest_goes_on():
    segments, parked = plan(bought("A", 9), bought("B", 1), renamed(8), here=[1])
    assert segments == [([], [1])]
    assert parked == [(0, "missing_reference"), (2, "missing_person")]


def test_a_person_who_is_parked_is_nobody_for_what_follows():
    segments, parked = plan(new(1, inviter=9), bought("A", 1))
    assert segments == [([], [])]
    assert parked == [(0, "missing_reference"), (1, "missing_reference")]


def test_who_goes_and_comes_again_is_created_in_a_segment_of_its_own():
    """Never before the row that was there is deleted."""
    assert plan(gone(1), new(1), renamed(1), here=[1]) == ([([], [0]), ([1], [2])], [])
    assert plan(new(1), gone(1), new(1)) == ([([0], [1]), ([2], [])], [])


def test_deleting_somebody_who_is_not_here_is_done():
    assert plan(gone(1)) == ([([], [])], [])


def test_what_waits_behind_a_parked_change_is_parked():
    assert plan(new(1), waiting=[0]) == ([([], [])], [(0, "waiting")])


def test_what_was_captured_before_the_entity_had_identity_names_nobody():
    """Its key is a field's value: it is told, and never looked for among people."""
    old = [(NICK, Change(0, op, 0, ("+8613800000001",), ("y",))) for op in ("insert", "update", "delete")]
    assert plan(*old, renamed(1), here=[1]) == ([([], [3])], [(0, "refused"), (1, "refused"), (2, "refused")])
