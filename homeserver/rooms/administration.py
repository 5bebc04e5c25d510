"""What operators do to rooms that they need not be in: close their doors, let people in, give powers, remove them.

Everything is in the audit log, with the change where it is one row; see `homeserver.operators`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from federation.auth import PowerLevels
from federation.errors import Refused
from federation.ids import RoomID, UserID, parse_user_id, server_of
from homeserver.operators import Operators
from homeserver.policy import Administer, Hidden, Invalid, NotFound
from homeserver.rooms.aliases import Aliases
from homeserver.rooms.head import POWER_LEVELS
from homeserver.rooms.membership import Memberships
from homeserver.rooms.purging import Deletion, Purges
from homeserver.rooms.restricted import join_rule
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.storage.accounts import load_active
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.purge import Purge, find_blocker, load_running_purges, set_blocked
from homeserver.storage.state import set_fork

HIGHEST: Final = 100
"""The power of an administrator where the rules name none, as where creators are above all."""
_MOST: Final = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAdministration:
    """Does to rooms what operators ask for; that it is an operator who asks is checked before.

    Methods raise NotFound for a room that this server does not know, and Refused.
    """

    rooms: Rooms
    database: Database
    operators: Operators
    memberships: Memberships
    aliases: Aliases
    purges: Purges

    async def find_blocker(self, by: UserID, room_id: str) -> UserID | None:
        """Who has blocked a room, known here or not; None if nobody."""
        await self.operators.check(Administer(by=by, deed="see_room", room_id=room_id))
        return await self.database.read(find_blocker, room_id)

    async def block(self, by: UserID, room_id: str, *, block: bool) -> None:
        """Let nobody come into a room, known here or not, or let them again."""
        deed = Administer(by=by, deed="block_room" if block else "unblock_room", room_id=room_id)
        entry = await self.operators.check(deed)
        await self.operators.write(entry, set_blocked, room_id, by if block else None, self.rooms.seal.now_ms())

    async def delete(self, by: UserID, room_id: str, wanted: Deletion) -> str:
        """Begin to remove a room; the ID to ask about it by.

        Raises: Invalid while it is being removed, or when the new room cannot be.
        """
        act = Administer(by=by, deed="delete_room", room_id=room_id)
        entry = await self.operators.check(act, block=wanted.block, purge=wanted.purge)
        await self._check_host(wanted.new_room_user)
        if await self.rooms.load(room_id) is None and not wanted.block:
            raise NotFound("Room not found")
        delete_id = await self.purges.delete_room(room_id, wanted)
        await self.database.write(append_audit, entry)
        return delete_id

    async def deletion(self, by: UserID, delete_id: str) -> Purge:
        """How far a removal is.

        Raises: NotFound also when there is none of that ID.
        """
        await self.operators.check(Administer(by=by, deed="see_room"))
        found = await self.purges.status(delete_id)
        if found is None or found.kind != "room":
            raise NotFound("delete id not found")
        return found

    async def deletions(self, by: UserID, room_id: str) -> list[Purge]:
        """The removals of a room, the latest first.

        Raises: NotFound also when there was none.
        """
        await self.operators.check(Administer(by=by, deed="see_room"))
        found = [purge for purge in await self.purges.of_room(room_id) if purge.kind == "room"]
        if not found:
            raise NotFound("No delete task for room_id found")
        return found

    async def tasks(self, by: UserID, room_id: str | None) -> list[Purge]:
        """What runs of removals, or was done to one room, the latest first."""
        await self.operators.check(Administer(by=by, deed="see_room"))
        if room_id is not None:
            return await self.purges.of_room(room_id)
        return list(await self.database.read(load_running_purges))

    async def admit(self, by: UserID, room_id_or_alias: str, person: UserID) -> RoomID:
        """Let a person of this server join a room; where not all may, the operator invites them, and must be able to.

        Raises: Invalid for a person of another server.
        """
        room = await self._find(room_id_or_alias)
        act = Administer(by=by, deed="admit", person=person, room_id=room.room_id)
        entry = await self.operators.check(act)
        if server_of(person) != self.rooms.seal.server:
            raise Invalid("M_INVALID_PARAM", "This endpoint can only be used with local users")
        if not await self.database.read(load_active, [person]):
            raise NotFound("User not found")
        await self.operators.note(entry)
        if join_rule(room) != "public" and room.membership(person) not in ("invite", "join"):
            await self.memberships.invite(by, room.room_id, person)
        return await self.memberships.join(person, room.room_id)

    async def make_admin(self, by: UserID, room_id_or_alias: str, person: UserID) -> None:
        """Give a person the highest power that anybody of this server has in the room; who is not in it is invited.

        Raises: Invalid when nobody of this server can give it.
        """
        room = await self._find(room_id_or_alias)
        act = Administer(by=by, deed="make_room_admin", person=person, room_id=room.room_id)
        entry = await self.operators.check(act)
        giver = self._find_giver(room)
        levels = room.head.levels
        is_mighty = levels.power_of(person) >= levels.power_of(giver)
        drafts = [] if is_mighty else [_empower(room, giver, person)]
        if join_rule(room) != "public" and room.membership(person) not in ("join", "invite"):
            content = {"membership": "invite"}
            drafts.append(Draft(type="m.room.member", sender=giver, content=content, state_key=person))
        await self.rooms.commit([(room, drafts)], [partial(_note, entry)])

    async def extremities(self, by: UserID, room_id_or_alias: str) -> Sequence[RoomEvent]:
        """The events that the next event of a room is built on."""
        room = await self._find(room_id_or_alias)
        entry = await self.operators.check(Administer(by=by, deed="see_room", room_id=room.room_id), what="extremities")
        await self.operators.note(entry)
        return room.shown.extremities

    async def tidy(self, by: UserID, room_id_or_alias: str) -> int:
        """Let only the deepest of a room's extremities be built on; how many were let go."""
        room = await self._find(room_id_or_alias)
        entry = await self.operators.check(Administer(by=by, deed="tidy_room", room_id=room.room_id))
        await self.rooms.wait_for(room)
        head = room.shown
        if len(head.extremities) < 2:
            return 0
        deepest = max(head.extremities, key=lambda held: held.place)
        latest = max(room.recent_floor, *(held.stream for held in room.recent))
        await self.operators.write(entry, set_fork, room.nid, latest, head.group, [deepest])
        await self.rooms.renew(room.room_id)
        return len(head.extremities) - 1

    def _find_giver(self, room: Room) -> UserID:
        levels: PowerLevels = room.shown.levels
        ours = [person for person in room.joined_members if server_of(person) == self.rooms.seal.server]
        mighty = max(ours, key=levels.power_of, default=None)
        needed = levels.level_for_event(POWER_LEVELS[0], is_state=True)
        if mighty is None or levels.power_of(mighty) < needed:
            raise Invalid("M_UNKNOWN", "Nobody of this server has the power to give in that room")
        return mighty

    async def _find(self, room_id_or_alias: str) -> Room:
        try:
            room = await self.rooms.load((await self.aliases.resolve(room_id_or_alias)).room_id)
        except Hidden:
            room = None
        if room is None:
            raise NotFound("Room not found")
        return room

    async def _check_host(self, user_id: str | None) -> None:
        if user_id is None:
            return
        host = parse_user_id(user_id)
        if server_of(host) != self.rooms.seal.server:
            raise Invalid("M_INVALID_PARAM", "new_room_user_id is somebody of this server")
        if not await self.database.read(load_active, [host]):
            raise Refused("administration", "There is nobody of that ID to make the new room")


def _empower(room: Room, giver: UserID, person: UserID) -> Draft:
    before = room.head.find(POWER_LEVELS)
    content: dict[str, object] = {} if before is None else dict(before.content)
    users = content.get("users")
    listed: Mapping[str, object] = users if isinstance(users, dict) else {}
    power = room.head.levels.power_of(giver)
    content["users"] = {**listed, person: power if power <= _MOST else HIGHEST}
    return Draft(type=POWER_LEVELS[0], sender=giver, content=content, state_key="")


def _note(entry: AuditEntry, txn: Txn) -> None:
    append_audit(txn, entry)
