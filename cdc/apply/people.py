"""Writing people and what refers to them: OneIDs become this channel's own keys, new people get theirs from the server. Guards I1, I6.

Inside the open transaction: rows are created, their keys learned, and the links kept in `datong_identity` beside them; so the row and
its link are there together or not at all. After the commit the hub store gets the links, and a later transaction drops them from
the table. A crash anywhere in between leaves them where the next start, and this channel's own capture, find them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from msgspec import structs

from cdc.apply.encoding import Encoder
from cdc.apply.moving import Followed, Moving
from cdc.apply.parking import keys_of
from cdc.apply.people_matching import Matching, local_key, values_of
from cdc.apply.people_plan import (
    FORGOTTEN,
    MISSING_PERSON,
    MISSING_REFERENCE,
    OLD_KEY,
    PeoplePlan,
    Planner,
    Work,
    names_a_person,
)
from cdc.errors import HaltError
from cdc.identity.directory import Directory, MadeLink, pack_local
from cdc.identity.registry import unpack_local
from cdc.identity.words import LocalKey, OneID
from cdc.model import Change, Layout
from sinks.contract import NewLink, Rejected, Rejection, RowWrite, Sink
from transforms.compiled import CompiledMapping
from transforms.values import ChannelValue, RefusedValueError

log = structlog.get_logger()


@dataclass(slots=True)
class _Open:
    """What the open transaction has done so far."""

    made: dict[OneID, MadeLink] = field(default_factory=dict)
    gone: list[tuple[str, LocalKey, OneID]] = field(default_factory=list)
    followed: list[tuple[Layout, Change, int, OneID]] = field(
        default_factory=list
    )  # references, and whose a merge made them


class People:
    """One applier's writer of batches with people. `mappings` answers the compiled mappings by entity as they are now."""

    def __init__(
        self,
        sink: Sink,
        encoder: Encoder,
        planner: Planner,
        directory: Directory,
        moving: Moving,
        mappings: Callable[[], Mapping[str, CompiledMapping]],
    ) -> None:
        self._sink = sink
        self._people = sink.people()
        self._encoder = encoder
        self._planner = planner
        self._directory = directory
        self.moving = moving
        self._matching = Matching(self._people, directory)
        self._mappings = mappings
        self._open = _Open()
        self._told: list[OneID] = []  # whose links the hub store holds, and the table still does
        self.released: set[OneID] = set()  # who has a row since the caller last looked

    def recover(self, deployment: str, target: str) -> None:
        """Give the hub store the links that a crash kept from it."""
        if not any(compiled.spec.entity.identity is not None for compiled in self._mappings().values()):
            return  # references only: no row of a person is made here, and there is no table of links
        links = self._people.kept(deployment, target)
        made = [MadeLink(link.entity, link.person, unpack_local(link.local_key)) for link in links]
        self._tell(made)
        if made:
            log.info("links_recovered", target=target, count=len(made))

    # -- in the open transaction

    def write(self, plan: PeoplePlan) -> None:
        """Write a batch whole. Raises Rejected: then it is to be written singly, in another transaction."""
        self._begin()
        for segment in plan.segments:
            self._create_all(plan, segment.creates)
            self._sink.write(self._writes_of(plan, segment.rest))
        self._keep()

    def write_singly(self, plan: PeoplePlan, places: Sequence[int]) -> list[Rejection]:
        """One by one, in order, by what the hub store says now; answer what could not be written."""
        self._begin()
        work = [plan.work[at] for at in places]
        named = {c.key[0] for layout, c in work if self._planner.concern(layout).is_person and names_a_person(c)}
        self._directory.forget({*named, *(p for layout, c in work for p in self._planner.referred(layout, c))})
        now = self._planner.look_up(plan.work)
        rejections: list[Rejection] = []
        waiting: set[str] = set()
        for at in places:
            layout, change = plan.work[at]
            keys = keys_of(layout, change, self._mappings()[layout.entity].spec.entity.key)
            behind = Rejection(at, "waiting", "an earlier change of this row waits", "")
            rejection = self._write_one(now, at) if waiting.isdisjoint(keys) else behind
            if rejection is not None:
                rejections.append(rejection)
                waiting.update(keys)
        self._keep()
        return rejections

    def committed(self) -> None:
        """Tell the hub store what the transaction that has just been committed made and removed."""
        opened, self._open = self._open, _Open()
        self._told = []
        self._directory.unlink([(entity, local) for entity, local, _ in opened.gone])
        self._tell(list(opened.made.values()))

    def _tell(self, made: Sequence[MadeLink]) -> None:
        for question in self._directory.link(made):
            log.warning(
                "identity_question", kind=question.kind, entity=question.entity, one=question.one, other=question.other,
                channel=question.channel, hint="decide it: datong identity conflicts",
            )  # fmt: skip
        self._told += [link.person for link in made]
        self.released.update(link.person for link in made)

    def _begin(self) -> None:
        self._open = _Open()
        if self._told:
            self._people.drop(self._told)

    def _keep(self) -> None:
        links = [
            NewLink(link.person, link.entity, pack_local(link.local).decode()) for link in self._open.made.values()
        ]
        if links:
            self._people.keep(links)
        self.moving.note([self._followed(*one) for one in self._open.followed])

    def _followed(self, layout: Layout, change: Change, at: int, kept: OneID) -> Followed:
        compiled, gone = self._mappings()[layout.entity], change.values[at]
        column = next(codec.column for codec in compiled.columns if codec.field == layout.fields[at])
        key = change.key
        if self._planner.concern(layout).is_person:
            made = self._open.made.get(key[0])
            key = self._directory.keys(key).get(key[0], ()) if made is None else made.local
        return Followed(kept, gone, compiled.spec.name, column, key)

    # -- creating people

    def _create_all(self, plan: PeoplePlan, places: Sequence[int]) -> None:
        """In rounds: somebody whose row refers to another new person comes after that one."""
        left = list(places)
        while left:
            ready = [at for at in left if all(p in plan.references for p in self._planner.needed(*plan.work[at]))]
            if not ready:
                raise Rejected("new people refer to each other in a circle")
            by_layout: dict[Layout, list[int]] = {}
            for at in ready:
                by_layout.setdefault(plan.work[at][0], []).append(at)
            for layout, group in by_layout.items():
                self._create(plan, layout, group, single=False)
            done = set(ready)
            left = [at for at in left if at not in done]

    def _create(self, plan: PeoplePlan, layout: Layout, places: Sequence[int], *, single: bool) -> None:
        compiled = self._mappings()[layout.entity]
        columns = tuple(codec.column for codec in compiled.key)
        writes = [self._new_write(plan, at) for at in places]
        entity = compiled.spec.entity.name
        made = {link.local: link.person for link in self._open.made.values() if link.entity == entity}
        found = self._matching.found(compiled, writes, {at: plan.work[at][1].key[0] for at in places}, made)
        fresh = [write for write in writes if write.ref not in found]
        for write in writes:
            if write.ref in found:
                self._take(plan, compiled, write.ref, local_key(compiled, found[write.ref]), single=single)
        if not fresh:
            return
        if set(columns) <= set(fresh[0].columns):
            keys: list[tuple[ChannelValue, ...] | None] = [values_of(write, columns) for write in fresh]
            self._insert_with_keys(fresh, columns, single=single)
        else:
            keys = list(self._people.create(fresh, columns, single=single))
            keys = self._matching.read_back(compiled, fresh, keys)
        for write, key in zip(fresh, keys, strict=True):
            if key is None:
                raise HaltError(
                    "NEW_KEY_UNKNOWN",
                    f"mapping {compiled.spec.name}: the server does not tell the key of a new row of {compiled.table}",
                    "make its key AUTO_INCREMENT or an identity column, map it to a field, or name unique columns in `match`",
                )
            self._learn(plan, compiled, plan.work[write.ref][1].key[0], local_key(compiled, key))
        self._refer_to_itself(plan, [write.ref for write in fresh], single=single)

    def _take(self, plan: PeoplePlan, compiled: CompiledMapping, at: int, local: LocalKey, *, single: bool) -> None:
        """A row that is there is the person's from now on, unless it cannot be written: it may be none of this mapping's."""
        person = plan.work[at][1].key[0]
        self._learn(plan, compiled, person, local)
        try:
            self._write_now(self._writes_of_one(plan, at), single=single)
        except Rejected:
            del plan.keys[person], plan.references[person], self._open.made[person]
            raise

    def _write_now(self, writes: Sequence[RowWrite], *, single: bool) -> None:
        """Raises Rejected; where `single`, the transaction can go on after that."""
        if not single:
            self._sink.write(writes)
        elif refused := self._sink.write_singly(writes):
            raise refused[0].refusal()

    def _refer_to_itself(self, plan: PeoplePlan, places: Sequence[int], *, single: bool) -> None:
        """References of new rows to themselves: NULL until the server had told their keys."""
        writes: list[RowWrite] = []
        for at in places:
            layout, change = plan.work[at]
            own = [n for n in self._planner.concern(layout).references if change.values[n] == change.key[0]]
            if own:
                (local,) = key = plan.keys[change.key[0]]
                only = Layout(layout.mapping, layout.entity, tuple(layout.fields[n] for n in own))
                update = Change(0, "update", change.index, key, (local,) * len(own))
                writes += self._encoder.encode(only, update, at)
        self._write_now(writes, single=single)

    def _new_write(self, plan: PeoplePlan, at: int) -> RowWrite:
        layout, change = plan.work[at]
        try:
            return self._encoder.encode_new(layout, self._translated(plan, layout, change), at)
        except RefusedValueError as error:
            raise Rejected(str(error), reason="refused", ref=at) from None

    def _insert_with_keys(self, writes: Sequence[RowWrite], columns: tuple[str, ...], *, single: bool) -> None:
        """A mapped key is in the values already."""
        whole = [structs.replace(w, key_columns=columns, key=values_of(w, columns)) for w in writes]
        self._write_now(whole, single=single)

    def _learn(self, plan: PeoplePlan, compiled: CompiledMapping, person: OneID, local: LocalKey) -> None:
        plan.keys[person] = plan.references[person] = local
        self._open.made[person] = MadeLink(compiled.spec.entity.name, person, local)

    # -- changes of what is there

    def _writes_of(self, plan: PeoplePlan, places: Sequence[int]) -> list[RowWrite]:
        """The writes of many changes, encoded together. Raises Rejected."""
        if any(self._moves_key(*plan.work[at]) for at in places):
            return [write for at in places for write in self._writes_of_one(plan, at)]
        made = [(plan.work[at][0], change) for at in places if (change := self._ready(plan, at)) is not None]
        writes: list[RowWrite] = []
        for (layout, change), outcome in zip(made, self._encoder.encode_all(made), strict=True):
            if isinstance(outcome, RefusedValueError):
                raise Rejected(str(outcome), reason="refused")
            writes += self._of_known(layout, change, outcome)
        return writes

    def _of_known(self, layout: Layout, change: Change, writes: Sequence[RowWrite]) -> list[RowWrite]:
        """The insert of a person whose row is there is an update of it: a channel whose users register somebody tells the others what
        it knows and nobody has told before; never that it does not know something.
        """
        if change.op != "insert" or not self._planner.concern(layout).is_person:
            return list(writes)
        compiled = self._mappings()[layout.entity]
        # What somebody's counters hold here is not what they begin with elsewhere.
        left_out = {layout.fields[at] for at in change.if_new} | compiled.spec.counters
        if not compiled.deleted:  # else the row may be one that counts as deleted, and begins anew
            left_out |= {name for name, value in zip(layout.fields, change.values, strict=True) if value is None}
        columns = {codec.column for codec in compiled.columns if codec.field in left_out}
        made: list[RowWrite] = []
        for write in writes:
            kept = [(c, v) for c, v in zip(write.columns, write.values, strict=True) if c not in columns]
            if kept:
                names, values = tuple(c for c, _ in kept), tuple(v for _, v in kept)
                made.append(structs.replace(write, op="update", columns=names, values=values, fresh=()))
        return made

    def _moves_key(self, layout: Layout, change: Change) -> bool:
        """Whether it may move a person's row to another key of its own."""
        compiled = self._mappings().get(layout.entity)
        if change.op == "delete" or compiled is None or not self._planner.concern(layout).is_person:
            return False
        columns = {codec.column for codec in compiled.key}
        return any(codec.column in columns and codec.field in layout.fields for codec in compiled.columns)

    def _translated(self, plan: PeoplePlan, layout: Layout, change: Change) -> Change:
        """The change with this channel's own keys in place of OneIDs. Raises Rejected."""
        concern = self._planner.concern(layout)
        values = change.values
        if concern.references and values:
            made = list(values)
            for at in concern.references:
                if made[at] is not None:
                    if not isinstance(made[at], int):
                        error = f"{layout.entity}: field {layout.fields[at]} was no reference when this was captured"
                        raise Rejected(error, reason="refused")
                    local = plan.references.get(made[at])
                    if local is None and concern.is_person and change.op == "insert" and made[at] == change.key[0]:
                        local = (None,)  # see `_refer_to_itself`
                    if local is None and made[at] in plan.forgotten:
                        raise Rejected(FORGOTTEN.format(layout.entity, made[at]), reason="refused")
                    if local is None:
                        error = f"{layout.entity} refers to OneID {made[at]}, who has no row here yet"
                        raise Rejected(error, reason=MISSING_REFERENCE)
                    if (kept := self._directory.followed.get(made[at])) is not None:
                        self._open.followed.append((layout, change, at, kept))
                    (made[at],) = local
            values = tuple(made)
        # Counters need what was there before; whom a reference named then is of no concern.
        before = tuple(None if at in concern.references else value for at, value in enumerate(change.before))
        if not concern.is_person:
            return change if values is change.values else structs.replace(change, values=values, before=before)
        return structs.replace(change, key=plan.keys.get(change.key[0], ()), values=values, before=before)

    def _writes_of_one(self, plan: PeoplePlan, at: int) -> list[RowWrite]:
        """One change's writes; none: nothing of it is mapped here, or there is nothing to delete. Raises Rejected."""
        layout, change = plan.work[at]
        made = self._ready(plan, at)
        if made is None:
            return []
        try:
            writes = self._encoder.encode(layout, made, at)
        except RefusedValueError as error:
            raise Rejected(str(error), reason="refused", ref=at) from None
        writes = self._of_known(layout, change, writes)
        if self._moves_key(layout, change):
            for write in writes:
                self._follow_key(plan, layout, change.key[0], write)
        return writes

    def _ready(self, plan: PeoplePlan, at: int) -> Change | None:
        """A change with this channel's keys; what it does to its person's row is noted. Raises Rejected."""
        layout, change = plan.work[at]
        made = self._translated(plan, layout, change)
        if not self._planner.concern(layout).is_person:
            return made
        person = change.key[0]
        if not made.key:
            if change.op == "delete":
                return None
            raise Rejected(f"OneID {person} has no row here yet", reason=MISSING_PERSON, ref=at)
        if change.op == "delete" and self._mappings()[layout.entity].spec.on_delete == "propagate":
            self._open.gone.append((layout.entity, plan.keys.pop(person), person))
            self._open.made.pop(person, None)
            plan.references.pop(person, None)
        return made

    def _follow_key(self, plan: PeoplePlan, layout: Layout, person: OneID, write: RowWrite) -> None:
        """A row whose own key is mapped may be moved by an update."""
        compiled = self._mappings()[layout.entity]
        columns = tuple(codec.column for codec in compiled.key)
        if set(columns).isdisjoint(write.columns):
            return
        values = dict(zip(columns, write.key, strict=True)) | dict(zip(write.columns, write.values, strict=True))
        local = local_key(compiled, tuple(values[column] for column in columns))
        if local != plan.keys[person]:
            self._open.gone.append((layout.entity, plan.keys[person], person))
            self._learn(plan, compiled, person, local)

    def _write_one(self, plan: PeoplePlan, at: int) -> Rejection | None:
        layout, change = plan.work[at]
        is_person = self._planner.concern(layout).is_person
        if is_person and not names_a_person(change):
            return Rejection(at, "refused", OLD_KEY.format(layout.entity), "")
        if is_person and change.key[0] in plan.forgotten:
            return None
        try:
            if is_person and change.op == "insert" and change.key[0] not in plan.keys:
                self._translated(plan, layout, change)
                self._create(plan, layout, [at], single=True)
                return None
            writes = self._writes_of_one(plan, at)
        except Rejected as error:
            return Rejection.of(error, at)
        rejections = self._sink.write_singly(writes) if writes else []
        if not rejections:
            return None
        if is_person and any(write.op == "delete" for write in writes):
            _, plan.keys[change.key[0]], _ = self._open.gone.pop()
        if is_person and change.op == "insert" and rejections[0].reason == "missing_row":
            # The row that the hub store knows is gone, and nobody has told it yet.
            self._open.gone.append((layout.entity, plan.keys.pop(change.key[0]), change.key[0]))
            return self._write_one(plan, at)
        return rejections[0]

    def follow_generation(self) -> None:
        """Forget what a merge, a split or a forgetting has made untrue."""
        self._directory.follow_generation()

    def rows(self, work: Sequence[Work]) -> int:
        """How many rows `singly` writes at most."""
        return len(work) + sum(self._planner.refers_to_itself(*one) for one in work)

    def singly(self, work: Sequence[Work]) -> list[Rejection]:
        """Write changes that were parked, in their order; answer those that still cannot be, by place."""
        return self.write_singly(PeoplePlan(work, {}, {}), range(len(work)))
