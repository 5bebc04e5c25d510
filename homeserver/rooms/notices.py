"""Notices of the server to its people: a room for each, in which nobody but the server speaks.

The room is made, with the invitation, its tag and what is known of it, in one unit of work; a notice is one unit with a
new invitation where the person has left. The last notices are pinned, which is what clients show as active.

Spec: client-server-api#server-notices
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from msgspec import json
from twisted.internet.defer import DeferredLock

from federation.ids import EventID, RoomID, UserID, localpart_of, parse_user_id, server_of
from federation.versions import RoomVersion
from homeserver.operators import Operators
from homeserver.policy import Administer, Invalid, NotFound
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.rooms.transactions import Request, Transactions
from homeserver.rooms.writing import Work
from homeserver.storage.accounts import NewAccount, append_account, find_account
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.data import set_account_data
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import Origin
from homeserver.storage.notices import find_notice_room, set_notice_room

_log = logging.getLogger(__name__)

MOST_PINNED: Final = 10
TAG: Final = "m.server_notice"
_PINNED: Final = ("m.room.pinned_events", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """In whose name notices are given: an account of the server's own; and what is called how."""

    user_id: UserID
    display_name: str
    room_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is to be said, by whom it is asked for; `txn_id` makes a repeated request the same notice."""

    by: UserID
    content: Mapping[str, object]
    type: str = "m.room.message"
    state_key: str | None = None
    txn_id: str | None = None


class Notices:
    """Gives notices; with no voice there are none."""

    def __init__(
        self,
        rooms: Rooms,
        database: Database,
        operators: Operators,
        transactions: Transactions,
        version: RoomVersion,
        voice: Voice | None,
    ) -> None:
        self._rooms = rooms
        self._db = database
        self._operators = operators
        self._transactions = transactions
        self._version = version
        self._voice = voice
        self._making = DeferredLock()

    async def prepare(self) -> None:
        """Open the account in whose name notices are given, if it is not there; if it is somebody's, there are none."""
        if self._voice is None:
            return
        account = NewAccount(user_id=self._voice.user_id, created_ms=self._rooms.seal.now_ms(), kind="server")
        await self._db.write(append_account, account)
        found = await self._db.read(find_account, self._voice.user_id)
        if found is None or found.kind != "server":
            _log.error("server_notices.localpart: %s is somebody's account: no notices are given", self._voice.user_id)
            self._voice = None

    async def send(self, person: UserID, notice: Notice) -> EventID:
        """Give a person of this server a notice; the event's ID.

        Raises: Invalid: there are no notices here, or it cannot be; NotFound: nobody has that ID; Refused.
        """
        voice = self._voice
        if voice is None:
            raise Invalid("M_UNKNOWN", "Server notices are not enabled on this server")
        entry = await self._operators.check(Administer(by=notice.by, deed="notify", person=person), type=notice.type)
        await self._check_there(person, voice)
        room = await self._open(voice, person)
        if notice.txn_id is None:
            return await self._say(voice, room, person, notice, entry)
        origin = Origin(voice.user_id, None, notice.txn_id)
        request = Request(room.room_id, notice.type, notice.txn_id)
        return await self._transactions.once(origin, request, lambda: self._say(voice, room, person, notice, entry))

    async def _check_there(self, person: UserID, voice: Voice) -> None:
        if server_of(person) != self._rooms.seal.server:
            raise Invalid("M_INVALID_PARAM", "Server notices can only be sent to local users")
        account = await self._db.read(find_account, person)
        if account is None or account.deactivated or account.kind == "server":
            raise NotFound("User not found")

    async def _open(self, voice: Voice, person: UserID) -> Room:
        """The person's room for notices, made if there is none (any more)."""
        async with self._making:
            room_id = await self._db.read(find_notice_room, person)
            room = None if room_id is None else await self._rooms.load(room_id)
            if room is None:
                drafts = list(_begin(voice, person, self._version))
                room = await self._rooms.create(self._version, drafts, also=lambda made: _also(person, made))
            return room

    async def _say(self, voice: Voice, room: Room, person: UserID, notice: Notice, entry: AuditEntry) -> EventID:
        origin = None if notice.txn_id is None else Origin(voice.user_id, None, notice.txn_id)
        said = Draft(
            type=notice.type,
            sender=voice.user_id,
            content=notice.content,
            state_key=notice.state_key,
            origin=origin,
        )
        drafts = [said] if room.membership(person) in ("join", "invite") else [_invite(voice, person), said]
        ((*_, held),) = await self._rooms.commit([(room, drafts)], [partial(_note, entry)])
        if notice.state_key is None:
            await self._pin(voice, room.room_id, held.event_id)
        return held.event_id

    async def _pin(self, voice: Voice, room_id: RoomID, event_id: EventID) -> None:
        room = await self._rooms.load(room_id)
        if room is None:
            return
        before = room.head.find(_PINNED)
        pinned = before.content.get("pinned") if before is not None else None
        kept = [each for each in pinned if each != event_id] if isinstance(pinned, list) else []
        content = {"pinned": [*kept, event_id][-MOST_PINNED:]}
        draft = Draft(type=_PINNED[0], sender=voice.user_id, content=content, state_key="")
        await self._rooms.commit([(room, [draft])])


def build_voice(localpart: str, server: str, display_name: str, room_name: str) -> Voice:
    """The voice of a configuration.

    Raises: BadIdentifier.
    """
    user_id = parse_user_id(f"@{localpart}:{server}", historical=False)
    return Voice(user_id=user_id, display_name=display_name or localpart_of(user_id), room_name=room_name)


def _begin(voice: Voice, person: UserID, version: RoomVersion) -> Iterator[Draft]:
    """What a room for notices begins with: nobody but the server speaks, and nobody comes in but by invitation."""

    def state(event_type: str, content: Mapping[str, object], state_key: str = "") -> Draft:
        return Draft(type=event_type, sender=voice.user_id, content=content, state_key=state_key)

    creator = {} if version.implicit_creator else {"creator": voice.user_id}
    yield state("m.room.create", {"room_version": version.id, "m.federate": False, **creator})
    yield state("m.room.member", {"membership": "join", "displayname": voice.display_name}, voice.user_id)
    users = {} if version.creators_are_supreme else {voice.user_id: 100}
    levels = {"users": users, "events_default": 50, "invite": 50, "events": {"m.room.tombstone": 150}}
    yield state("m.room.power_levels", levels)
    yield state("m.room.join_rules", {"join_rule": "invite"})
    yield state("m.room.history_visibility", {"history_visibility": "invited"})
    yield state("m.room.guest_access", {"guest_access": "forbidden"})
    yield state("m.room.name", {"name": voice.room_name})
    yield _invite(voice, person)


def _invite(voice: Voice, person: UserID) -> Draft:
    return Draft(type="m.room.member", sender=voice.user_id, content={"membership": "invite"}, state_key=person)


def _also(person: UserID, room: Room) -> Sequence[Work]:
    return [partial(_tag, person, room.room_id)]


def _tag(person: UserID, room_id: RoomID, txn: Txn) -> None:
    """Part of the unit that makes the room: whose it is, and the tag by which clients know it."""
    set_notice_room(txn, person, room_id)
    set_account_data(txn, person, "m.tag", json.encode({"tags": {TAG: {}}}), room_id)


def _note(entry: AuditEntry, txn: Txn) -> None:
    append_audit(txn, entry)
