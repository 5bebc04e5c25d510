"""Vouching for people, and having others vouched for.

A claim is asked for when somebody wants into a room, renewed before it runs out, and gone at once when its region takes
it back, or gives no other: then its person leaves the rooms in the same unit of work.

School: rows 63, 67, 68
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred

from federation import canonical
from federation.claims import LIFE_MS, Claim, check_claim, parse_claim, sign_claim
from federation.ed25519 import SigningKey
from federation.errors import BadAnswer, Refused, RemoteFault
from federation.ids import ServerName, UserID, server_of
from federation.transport.peers import Asks
from federation.transport.tasks import side_by_side
from homeserver.policy import Hidden
from homeserver.schools.agreements import roles_agreed
from homeserver.schools.books import World
from homeserver.schools.cooperation.network import Network, Without
from homeserver.schools.facts import Facts, build_agreement
from homeserver.schools.rights import Kind, Place, rank
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, Txn
from homeserver.storage.schools import claims as table
from homeserver.storage.schools.claims import GivenClaim, HeldClaim
from homeserver.storage.schools.cooperation import (
    Cooperation,
    find_cooperation,
    find_cooperation_with,
    load_pupils,
    load_rooms_with,
)
from homeserver.storage.schools.people import load_grants

PATH: Final = "/_parta/federation/v1/claims"
MOST_PEOPLE: Final = 100
"""For how many people claims are asked at once, and how many claims are taken back at once."""
MOST_BYTES: Final = 1 << 20
PATIENCE_S: Final = 10.0
"""How long another region may take for an answer: the others wait for theirs."""
PAGE: Final = 500

_log: Final = logging.getLogger(__name__)


class Verifies(Protocol):
    """Knows the keys of servers."""

    async def verify(self, value: Mapping[str, Any], server: ServerName) -> None:
        """Check that the server has signed the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What claims stand on: our key, the other regions, and our own schools. `may_talk`: the list of regions."""

    key: SigningKey
    peers: Asks
    keyring: Verifies
    may_talk: Callable[[ServerName], bool]
    database: Database
    facts: Facts
    network: Network
    world: World


class _Asking:
    """Some people's region is being asked for claims; and who waits until these are kept."""

    __slots__ = ("people", "waiting")

    def __init__(self, people: frozenset[UserID]) -> None:
        self.people = people
        self.waiting: list[Deferred[None]] = []


class Claims:
    """Gives claims, asks for them, and takes them back."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._asking: list[_Asking] = []
        self._asked = self._granted = 0

    def measure(self) -> dict[str, float]:
        """Counts for the metrics: of how many people others have asked since the start, and what they were answered."""
        refused = self._asked - self._granted
        return {"claims_asked": self._asked, "claims_granted": self._granted, "claims_refused": refused}

    # of our people, for others

    async def give(self, origin: ServerName, cooperation_id: str, people: Sequence[UserID]) -> list[dict[str, Any]]:
        """The claims of those of these people who may take part in a cooperation with that region. All others are left
        out alike: who is unknown, waits, was dismissed, or has another role.

        Raises: Hidden: there is no such cooperation in force.
        """
        ground = self._ground
        self._asked += len(people)
        ids = [ground.world.new_id() for _ in people]
        unit = _Giving(origin, cooperation_id, list(zip(people, ids, strict=True)), ground.world.now_ms())
        claims = await ground.database.write(unit.write)
        if claims is None:
            raise Hidden
        self._granted += len(claims)
        return [sign_claim(claim, ground.key) for claim in claims]

    async def recall(self, people: Iterable[UserID] | None = None) -> set[UserID]:
        """Take back what is no longer true of these people, or of everybody; of whom some region could not be told."""
        untold: set[UserID] = set()
        if people is not None:
            false = await self._ground.database.read(_find_false, sorted(people), self._ground.world.now_ms())
            return await self._tell(false)
        after = ""
        await self._ground.database.write(table.remove_given_before, self._ground.world.now_ms())
        while page := await self._ground.database.read(table.load_given_page, after, PAGE):
            untold |= await self.recall({given.user_id for given in page})
            after = page[-1].claim_id
        return untold

    async def _tell(self, false: Sequence[GivenClaim]) -> set[UserID]:
        """Tell other regions, side by side, what of that which they were given is no longer true; who is left."""
        by_server: dict[ServerName, list[GivenClaim]] = {}
        for given in false:
            by_server.setdefault(given.audience, []).append(given)
        left = await side_by_side(self._tell_one(server, several) for server, several in by_server.items())
        return set().union(*left)

    async def _tell_one(self, server: ServerName, false: Sequence[GivenClaim]) -> set[UserID]:
        for begin in range(0, len(false), MOST_PEOPLE):
            part = false[begin : begin + MOST_PEOPLE]
            body = {"people": [each.user_id for each in part]}
            try:
                await self._ground.peers.ask(server, "POST", f"{PATH}/revoke", body=body, timeout_s=PATIENCE_S)
            except (RemoteFault, Refused) as fault:
                _log.info("%s cannot be told which claims are taken back: %s", server, fault)
                return {each.user_id for each in false[begin:]}
            await self._ground.database.write(table.remove_given, [each.claim_id for each in part])
        return set()

    # of others' people, for us

    async def ask_for(self, person: UserID, place: Place) -> None:
        """Have somebody vouched for who wants into a room; if their region does not, nothing has changed."""
        server = server_of(person)
        for agreement in place.agreements:
            if agreement.server != server:
                continue
            key = agreement.cooperation_id, agreement.org_id
            cooperation = await self._ground.database.read(find_cooperation, *key)
            if cooperation is None or not cooperation.is_in_force(self._ground.world.now_ms()):
                continue
            try:
                await self._learn(cooperation, [person])
            except (RemoteFault, Refused) as fault:
                _log.info("%s does not vouch for anybody now: %s", server, fault)

    async def take_back(self, origin: ServerName, people: Sequence[UserID]) -> None:
        """A region takes back what it said of people of its own: ask it what it says now, and go by that. What it said
        before that and is still on its way is waited for, so that it does not come to stay.
        """
        theirs = [person for person in people if server_of(person) == origin]
        for asking in [each for each in self._asking if not each.people.isdisjoint(theirs)]:
            waiter: Deferred[None] = Deferred()
            asking.waiting.append(waiter)
            await waiter
        held = await self._ground.database.read(_load_held_of, theirs)
        await self._renew([claim for claim in held if claim.server == origin], "taken back", patient=False)

    async def renew(self) -> None:
        """Renew the claims that run out soon, of those who are in a room; part with all that are not renewed."""
        ground = self._ground
        for server in await ground.database.read(table.load_vouching_servers):
            while not ground.may_talk(server) and (
                held := await ground.database.read(table.load_held_from, server, PAGE)
            ):
                await self._drop(held, "region refused")
        soon_ms = ground.world.now_ms() + LIFE_MS // 2
        last: HeldClaim | None = None
        while held := await ground.database.read(table.load_held_before, soon_ms, last, PAGE):
            await self._renew(held, "run out", patient=True)
            last = held[-1]

    async def _renew(self, held: Sequence[HeldClaim], why: str, *, patient: bool) -> None:
        """Ask again for claims; if `patient`, one whose region cannot be asked stays as long as it is good."""
        inside = await self._ground.database.read(load_rooms_with, {claim.user_id for claim in held})
        key = _by_cooperation
        for (cooperation_id, org_id), several in groupby(sorted(held, key=key), key=key):
            claims = list(several)
            cooperation = await self._ground.database.read(find_cooperation, cooperation_id, org_id)
            for begin in range(0, len(claims), MOST_PEOPLE):
                part = claims[begin : begin + MOST_PEOPLE]
                wanted = [claim.user_id for claim in part if claim.user_id in inside]
                await self._renew_part(cooperation, part, wanted, why if not patient else "")

    async def _renew_part(
        self, cooperation: Cooperation | None, part: Sequence[HeldClaim], wanted: list[UserID], why: str
    ) -> None:
        now_ms = self._ground.world.now_ms()
        if cooperation is None or not cooperation.is_in_force(now_ms):
            await self._drop(part, "cooperation ended")
            return
        found: Mapping[UserID, HeldClaim] = {}
        try:
            found = await self._learn(cooperation, wanted) if wanted else {}
        except RemoteFault as fault:
            _log.info("%s cannot be asked to renew claims: %s", cooperation.peer_server, fault)
            await self._drop([claim for claim in part if why or claim.valid_until_ms <= now_ms], why or "run out")
            return
        except Refused:
            await self._drop(part, "region refused")
            return
        refused = [claim for claim in part if claim.user_id not in found]
        asked = frozenset(wanted)
        await self._drop(
            [claim for claim in refused if claim.user_id in asked or why or claim.valid_until_ms <= now_ms],
            why or "not renewed",
        )

    async def _learn(self, cooperation: Cooperation, people: Sequence[UserID]) -> Mapping[UserID, HeldClaim]:
        """Ask a region for claims of its people, and keep what it gives.

        Raises: RemoteFault; Refused.
        """
        asking = _Asking(frozenset(people))
        self._asking.append(asking)
        try:
            found = await self._ask(cooperation, people)
            await self._keep(found.values())
        finally:
            self._asking.remove(asking)
            for waiter in asking.waiting:
                waiter.callback(None)
        return found

    async def _ask(self, cooperation: Cooperation, people: Sequence[UserID]) -> dict[UserID, HeldClaim]:
        """The claims that a region gives for its people.

        Raises: RemoteFault; Refused.
        """
        ground, server = self._ground, cooperation.peer_server
        body = {"cooperation": cooperation.cooperation_id, "people": list(people)}
        answer = await ground.peers.ask(server, "POST", PATH, body=body, timeout_s=PATIENCE_S, most_bytes=MOST_BYTES)
        given = answer.get("claims")
        if not isinstance(given, list) or len(given) > len(people):
            raise BadAnswer("claims is no list of as many as were asked for")
        found = {}
        for value in given:
            if not isinstance(value, dict):
                raise BadAnswer("a claim is an object")
            claim = parse_claim(value)
            check_claim(claim, server, ground.world.server, ground.world.now_ms())
            if claim.person not in people or not _is_for(claim, cooperation):
                raise BadAnswer("a claim that was not asked for")
            await ground.keyring.verify(value, server)
            found[claim.person] = _hold(claim, cooperation, value)
        return found

    async def _keep(self, claims: Iterable[HeldClaim]) -> None:
        kept = list(claims)
        if kept:
            await self._ground.database.write(_write_held, kept)
            people = frozenset(claim.user_id for claim in kept)
            self._ground.facts.heed([SchoolChanged(position=0, people=people, rooms=frozenset())])  # for who asks now

    async def _drop(self, claims: Sequence[HeldClaim], why: str) -> None:
        """Part with claims; whom nothing else is vouched for leaves the rooms, in the same unit of work."""
        if not claims:
            return
        people = frozenset(claim.user_id for claim in claims)
        rooms = await self._ground.database.read(load_rooms_with, people)
        left = {room_id for user_id in people for room_id in rooms.get(user_id, ())}
        without = Without(claims=frozenset((claim.user_id, claim.cooperation_id) for claim in claims))
        await self._ground.network.settle(
            left, [partial(_remove_held, claims, why, self._ground.world)], without=without, why=why
        )


def _by_cooperation(claim: HeldClaim) -> tuple[str, str]:
    return claim.cooperation_id, claim.org_id


def _is_for(claim: Claim, cooperation: Cooperation) -> bool:
    """Whether a claim is of that cooperation, with its purpose and one of its roles."""
    agreement = build_agreement(cooperation, frozenset())
    return (
        (claim.cooperation, claim.purpose, claim.organisation)
        == (cooperation.cooperation_id, cooperation.kind, cooperation.peer_org_id)
        and claim.role in agreement.roles
        and rank([claim.role], Kind(cooperation.kind)) is not None
    )


def _hold(claim: Claim, cooperation: Cooperation, value: Mapping[str, Any]) -> HeldClaim:
    return HeldClaim(
        user_id=claim.person,
        cooperation_id=cooperation.cooperation_id,
        org_id=cooperation.org_id,
        server=cooperation.peer_server,
        claim_id=claim.claim_id,
        role=claim.role,
        valid_until_ms=claim.valid_until_ms,
        raw=canonical.encode(value),
    )


def _write_held(txn: Txn, claims: Sequence[HeldClaim]) -> None:
    table.set_held(txn, claims)
    people = frozenset(claim.user_id for claim in claims)
    txn.tell(SchoolChanged(position=txn.position(), people=people, rooms=frozenset()))


def _remove_held(claims: Sequence[HeldClaim], why: str, world: World, txn: Txn) -> None:
    """Part of a unit of work: claims are forgotten, and the log says so."""
    table.remove_held(txn, claims)
    for claim in claims:
        entry = AuditEntry(
            org_id=claim.org_id,
            at_ms=world.now_ms(),
            done_by=world.service,
            deed="claim_ended",
            subject=claim.user_id,
            detail={"cooperation": claim.cooperation_id, "why": why},
        )
        append_audit(txn, entry)
    people = frozenset(claim.user_id for claim in claims)
    txn.tell(SchoolChanged(position=txn.position(), people=people, rooms=frozenset()))


@dataclass(frozen=True, slots=True)
class _Giving:
    """A unit of work that finds what may be said of people, and notes that it was: so nobody who is dismissed at the
    same time is vouched for and not taken back.
    """

    audience: ServerName
    cooperation_id: str
    people: Sequence[tuple[UserID, str]]
    now_ms: int

    def write(self, txn: Txn) -> list[Claim] | None:
        cooperation = find_cooperation_with(txn, self.cooperation_id, self.audience)
        if cooperation is None or not cooperation.is_in_force(self.now_ms):
            return None
        claims = []
        for person, claim_id in self.people:
            right = _find_right(txn, person, cooperation, self.now_ms)
            if right is not None:
                role, until_ms = right
                claims.append(
                    Claim(
                        claim_id=claim_id,
                        cooperation=cooperation.cooperation_id,
                        person=person,
                        organisation=cooperation.org_id,
                        role=role,
                        purpose=cooperation.kind,
                        audience=self.audience,
                        issued_ms=self.now_ms,
                        valid_until_ms=min(until_ms, cooperation.until_ms, self.now_ms + LIFE_MS),
                    )
                )
        table.append_given(txn, [_note(claim, cooperation) for claim in claims])
        return claims


def _note(claim: Claim, cooperation: Cooperation) -> GivenClaim:
    return GivenClaim(
        claim_id=claim.claim_id,
        user_id=claim.person,
        cooperation_id=cooperation.cooperation_id,
        org_id=cooperation.org_id,
        role=claim.role,
        audience=claim.audience,
        valid_until_ms=claim.valid_until_ms,
    )


def _find_right(txn: Txn, person: UserID, cooperation: Cooperation, now_ms: int) -> tuple[str, int] | None:
    """By which role somebody of ours may take part in a cooperation, and until when that is verified."""
    rows = [row for row in load_grants(txn, person) if now_ms < row.until_ms and row.org_id == cooperation.org_id]
    agreement = build_agreement(cooperation, load_pupils(txn, cooperation))
    role = rank(roles_agreed(person, [(row.org_id, row.role) for row in rows], [agreement]), Kind(cooperation.kind))
    return None if role is None else (role.value, max(row.until_ms for row in rows if row.role == role))


def _find_false(txn: Txn, people: Sequence[UserID], now_ms: int) -> list[GivenClaim]:
    """The claims given of these people that are good and no longer true."""
    false = []
    for given in table.load_given(txn, people):
        cooperation = find_cooperation(txn, given.cooperation_id, given.org_id)
        if given.valid_until_ms > now_ms and not _is_true(txn, given, cooperation, now_ms):
            false.append(given)
    return false


def _is_true(txn: Txn, given: GivenClaim, cooperation: Cooperation | None, now_ms: int) -> bool:
    if cooperation is None or not cooperation.is_in_force(now_ms):
        return False
    agreement = build_agreement(cooperation, load_pupils(txn, cooperation))
    held = [(row.org_id, row.role) for row in load_grants(txn, given.user_id) if now_ms < row.until_ms]
    return given.role in roles_agreed(given.user_id, held, [agreement])


def _load_held_of(txn: Txn, people: Sequence[UserID]) -> list[HeldClaim]:
    return [claim for person in people for claim in table.load_held(txn, person)]
