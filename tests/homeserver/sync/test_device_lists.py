"""The law of device lists: whoever follows them knows exactly whose keys to ask for, and with whom nothing is shared.

Histories are random but for their seed. What a sync tells is held against what the tables of memberships and of changed
keys said at each step: nobody may be missed, and nobody told of for whom nothing has changed.
"""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from federation.ids import UserID
from homeserver.devices.keys import Keys
from homeserver.storage import keys
from homeserver.storage.database import Txn
from homeserver.sync.tokens import parse_token
from tests.kit.databases import on_both_databases
from tests.kit.syncs import SyncCase, Syncer

SEEDS = int(os.environ.get("PARTA_LAW_SEEDS", "12"))
FIRST = int(os.environ.get("PARTA_LAW_FIRST", "0"))
STEPS = 80
NAMES = ("ann", "ben", "cyd", "dan", "eve")
ENCRYPTION = "m.room.encryption"
ALGORITHM = {"algorithm": "m.megolm.v1.aes-sha2"}
WAYS: tuple[dict[str, str], ...] = (
    {},
    {"filter": '{"room":{"timeline":{"limit":2},"state":{"lazy_load_members":true}}}'},
    {"filter": '{"room":{"rooms":[]}}'},
)


@dataclass(frozen=True)
class Moment:
    """Who was in which room, which rooms were encrypted, and whose keys changed in the step that led here."""

    rooms: dict[str, frozenset[str]]
    encrypted: frozenset[str]
    changed: frozenset[str]

    def companions(self, person: str) -> set[str]:
        """Those with whom a person shared a room, and the person."""
        return {person}.union(*(members for members in self.rooms.values() if person in members))

    def confidants(self, person: str, rooms: Iterable[str] | None = None) -> set[str]:
        """Those with whom a person shared an encrypted room."""
        shared = (self.rooms[room] for room in (self.encrypted if rooms is None else rooms) if room in self.rooms)
        return set().union(*(members for members in shared if person in members)) - {person}  # type: ignore[arg-type]


def read_moment(txn: Txn, changed: frozenset[str]) -> Moment:
    """The tables, as they are now."""
    rooms: dict[str, set[str]] = {}
    for room, person in txn.all(
        "SELECT r.room_id, m.user_id FROM memberships m JOIN rooms r ON r.nid = m.room_nid WHERE m.membership = 'join'"
    ):
        rooms.setdefault(room, set()).add(person)
    encrypted = txn.all(
        "SELECT r.room_id FROM state_changes c JOIN rooms r ON r.nid = c.room_nid WHERE c.type = ?", (ENCRYPTION,)
    )
    whole = {room: frozenset(members) for room, members in rooms.items()}
    return Moment(whole, frozenset(room for (room,) in encrypted), changed)


@dataclass(eq=False)
class Client:
    """A device that syncs in one way, and the moment of its last sync."""

    syncer: Syncer
    query: dict[str, str]
    at: int = 0


@dataclass
class Told:
    """What had to be told, and what might be."""

    changed: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    perhaps_changed: set[str] = field(default_factory=set)
    perhaps_left: set[str] = field(default_factory=set)


def expect(person: str, before: Moment, steps: list[Moment]) -> Told:
    """What a sync must and may tell a person who was told everything up to `before`."""
    now, told = steps[-1] if steps else before, Told()
    for step in steps:
        shared = step.changed & step.companions(person)
        told.changed |= shared & now.companions(person)
        told.perhaps_changed |= shared
        told.changed |= step.changed & now.confidants(person)
        told.perhaps_changed |= step.changed & now.companions(person)
    told.changed |= now.confidants(person) - before.confidants(person)
    told.left = before.confidants(person) - now.confidants(person)
    told.perhaps_left = before.confidants(person).union(*(step.confidants(person) for step in steps)) - now.confidants(
        person
    )
    for room in now.encrypted & now.rooms.keys():
        along = [before, *steps]
        always = set.intersection(*(each.confidants(person, {room} & each.encrypted) for each in along))
        told.perhaps_changed |= now.confidants(person, {room}) - always
    told.perhaps_changed |= told.changed
    told.changed -= told.perhaps_left  # whoever shares no encrypted room any more is told as that
    return told


class History:
    """A random history of some rooms, encrypted and not."""

    def __init__(self, case: "LawOfDeviceLists", seed: int) -> None:
        self.case = case
        self.seed = seed
        self.chance = random.Random(seed)
        self.people = [case.person(f"{name}{seed}", "ACTS") for name in NAMES]
        self.clients = [
            Client(case.person(f"{name}{seed}", f"D{at}"), way) for name in NAMES for at, way in enumerate(WAYS)
        ]
        self.rooms: list[str] = []
        self.moments: list[Moment] = []
        self.changed: set[str] = set()

    async def run(self) -> None:
        await self.create()
        await self.step()
        for client in self.clients:
            await client.syncer.sync(**client.query)
        for _ in range(STEPS):
            self.case.clock.advance(0.001)
            await self.chance.choice(self.deeds())()
            await self.step()
            for client in self.chance.sample(self.clients, self.chance.randrange(3)):
                await self.check(client)
        for client in self.clients:
            await self.check(client)
            await self.check(client)

    async def step(self) -> None:
        changed, self.changed = frozenset(self.changed), set()
        self.moments.append(await self.case.db.read(read_moment, changed))

    async def check(self, client: Client) -> None:
        """Sync, and fail unless exactly the right people are told."""
        person, query = client.syncer.user_id, dict(client.query)
        expected = expect(person, self.moments[client.at], self.moments[client.at + 1 :])
        since = client.syncer.since
        if self.chance.random() < 0.1:
            query["full_state"] = "true"
        answer = await client.syncer.sync(**query)
        told: dict[str, Any] = answer.get("device_lists", {})
        where = f"seed {self.seed}, {person}, {since} to {client.syncer.since}, {client.at} to {len(self.moments)}"
        hold(set(told.get("changed", ())), expected.changed, expected.perhaps_changed, f"changed: {where}")
        hold(set(told.get("left", ())), expected.left, expected.perhaps_left, f"left: {where}")
        client.at = len(self.moments) - 1
        await self.check_changes(client, since, expected, where)

    async def check_changes(self, client: Client, since: str | None, expected: Told, where: str) -> None:
        """Ask for the same in the other way."""
        changed, left = await self.case.keys.changes(UserID(client.syncer.user_id), parse_token(since or "").position)
        hold(changed, expected.changed, expected.perhaps_changed, f"/keys/changes changed: {where}")
        hold(left, expected.left, expected.perhaps_left, f"/keys/changes left: {where}")

    def deeds(self) -> list[Any]:
        often = [self.join] * 8 + [self.leave] * 4 + [self.change_keys] * 6 + [self.expel] * 2 + [self.rename] * 2
        return [*often, self.invite, self.invite, self.create, self.encrypt, self.say_much, self.restart, self.forget]

    def pick(self) -> tuple[Syncer, str]:
        return self.chance.choice(self.people), quote(self.chance.choice(self.rooms))

    async def create(self) -> None:
        initial = [{"type": ENCRYPTION, "state_key": "", "content": ALGORITHM}] if self.chance.random() < 0.6 else []
        by = self.chance.choice(self.people)
        invite = [self.chance.choice(self.people).user_id] if self.chance.random() < 0.5 else []
        invite = [other for other in invite if other != by.user_id]
        self.rooms.append(await by.create(preset="public_chat", initial_state=initial, invite=invite))

    async def encrypt(self) -> None:
        by, room = self.pick()
        await by.call("PUT", f"/rooms/{room}/state/{ENCRYPTION}/", ALGORITHM)

    async def join(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/join/{room}", {})

    async def leave(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/rooms/{room}/leave", {})

    async def forget(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/rooms/{room}/leave", {})
        await by.call("POST", f"/rooms/{room}/forget", {})

    async def invite(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/rooms/{room}/invite", {"user_id": self.chance.choice(self.people).user_id})

    async def expel(self) -> None:
        by, room = self.pick()
        what = self.chance.choice(("kick", "ban", "unban", "unban"))
        await by.call("POST", f"/rooms/{room}/{what}", {"user_id": self.chance.choice(self.people).user_id})

    async def rename(self) -> None:
        by, room = self.pick()
        content = {"membership": "join", "displayname": self.case.new_txn()}
        if (await by.call("GET", f"/rooms/{room}/joined_members")).status == 200:
            await by.call("PUT", f"/rooms/{room}/state/m.room.member/{by.user_id}", content)

    async def change_keys(self) -> None:
        by = self.chance.choice(self.people)
        await self.case.db.write(keys.set_changed, UserID(by.user_id))
        self.changed.add(by.user_id)

    async def say_much(self) -> None:
        by, room = self.pick()
        for _ in range(5):
            await by.call("PUT", f"/rooms/{room}/send/m.room.message/{self.case.new_txn()}", {"body": "hi"})

    async def restart(self) -> None:
        self.case.typing.close()
        self.case.restart()


def hold(told: set[str], needed: set[str], allowed: set[str], where: str) -> None:
    """Fail when somebody was missed, or told of without reason."""
    assert needed <= told, f"missed {sorted(needed - told)}; {where}"
    assert told <= allowed, f"spurious {sorted(told - allowed)}; {where}"


@on_both_databases
class LawOfDeviceLists(SyncCase):
    timeout = 600

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.keys = Keys(self.db, self.policy)

    async def test_nobody_is_missed_and_nobody_told_of_without_reason(self) -> None:
        for seed in range(FIRST, FIRST + SEEDS):
            await History(self, seed).run()
