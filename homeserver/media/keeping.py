"""What operators do with files: keep them from being seen, or take them away; every deed is in the audit log."""

from collections.abc import Callable, Sequence
from typing import Final

from federation.ids import MxcURI, RoomID, ServerName, UserID
from homeserver.media.sweeping import Sweeper
from homeserver.operators import Operators
from homeserver.policy import Administer, NotFound
from homeserver.storage.database import Database, Txn
from homeserver.storage.doomed import doom_media
from homeserver.storage.media import keeping as table
from homeserver.storage.media.keeping import START, Page, Unused, Which

AT_ONCE: Final = 200
"""How many files one unit of work deals with."""


class Keeping:
    """The operators' hands. What is put into quarantine is not there for anybody, and is kept for whoever must judge
    it; what is deleted is gone from the disk when this returns. Each raises `Refused` where the policy has it so.
    """

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        operators: Operators,
        sweeper: Sweeper,
        now_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._operators = operators
        self._sweeper = sweeper
        self._now_ms = now_ms

    async def quarantine(self, by: UserID, origin: ServerName, media_id: str) -> None:
        """Keep a file from everybody, and whatever has the same content; a protected one stays.

        Raises: NotFound.
        """
        which = (origin, media_id)
        entry = await self._operators.check(Administer(by=by, deed="quarantine_media"), media=_uri(which))
        await self._operators.write(entry, _quarantine, which, by, self._now_ms())

    async def release(self, by: UserID, origin: ServerName, media_id: str) -> None:
        """Let a file be seen again, and whatever has the same content.

        Raises: NotFound.
        """
        which = (origin, media_id)
        entry = await self._operators.check(Administer(by=by, deed="release_media"), media=_uri(which))
        await self._operators.write(entry, _release, which)

    async def quarantine_room(self, by: UserID, room_id: RoomID) -> int:
        """Keep every file from everybody that is shown in a room, where that can be seen; how many."""
        act = Administer(by=by, deed="quarantine_media", room_id=room_id)
        return await self._quarantine_all(act, lambda txn: table.load_visible_in_room(txn, room_id, AT_ONCE))

    async def quarantine_user(self, by: UserID, user_id: UserID) -> int:
        """Keep every file from everybody that a person has uploaded; how many."""
        act = Administer(by=by, deed="quarantine_media", person=user_id)
        return await self._quarantine_all(act, lambda txn: table.load_visible_of_user(txn, user_id, AT_ONCE))

    async def protect(self, by: UserID, media_id: str, *, protected: bool) -> None:
        """Protect a file of ours from quarantine, or no longer.

        Raises: NotFound.
        """
        which = (self._server_name, media_id)
        act = Administer(by=by, deed="protect_media")
        entry = await self._operators.check(act, media=_uri(which), protected=protected)
        await self._operators.write(entry, _protect, which, protected)

    async def delete(self, by: UserID, media_id: str) -> Sequence[str]:
        """Delete a file of ours.

        Raises: NotFound.
        """
        which = (self._server_name, media_id)
        entry = await self._operators.check(Administer(by=by, deed="remove_media"), media=_uri(which))
        await self._operators.write(entry, _delete, which)
        await self._sweeper.sweep()
        return [media_id]

    async def delete_unused(self, by: UserID, wanted: Unused) -> Sequence[str]:
        """Delete files that nobody has got for long; their media IDs."""
        entry = await self._operators.check(
            Administer(by=by, deed="remove_media"),
            local=wanted.local,
            before_ms=wanted.before_ms,
            larger_than=wanted.larger_than,
            keep_pictures=wanted.keep_pictures,
        )
        await self._operators.note(entry)
        return await delete_unused(self._database, self._sweeper, self._server_name, wanted)

    async def delete_of_user(self, by: UserID, user_id: UserID, page: Page) -> Sequence[str]:
        """Delete a page of what a person has uploaded; the media IDs."""
        act = Administer(by=by, deed="remove_media", person=user_id)
        entry = await self._operators.check(act, **page._asdict())
        deleted = await self._operators.write(entry, _delete_page, user_id, page)
        await self._sweeper.sweep()
        return deleted

    async def _quarantine_all(self, act: Administer, load: Callable[[Txn], list[Which]]) -> int:
        """Put some at a time into quarantine; that it was ordered is in the log before the first."""
        entry = await self._operators.check(act)
        by = UserID(entry.done_by)

        def quarantine_some(txn: Txn) -> int:
            return table.set_quarantined(txn, load(txn), by, self._now_ms())

        total = some = await self._operators.write(entry, quarantine_some)
        while some:
            some = await self._database.write(quarantine_some)
            total += some
        return total


async def delete_unused(
    database: Database,
    sweeper: Sweeper,
    server_name: ServerName,
    wanted: Unused,
    goes_on: Callable[[], bool] = lambda: True,
) -> Sequence[str]:
    """Delete files that nobody has got for long, some at a time, as long as it `goes_on`; their media IDs."""

    def delete_some(txn: Txn, after: table.Place) -> list[table.Place]:
        some = table.load_unused(txn, server_name, wanted, after, AT_ONCE)
        doom_media(txn, [(ServerName(each.origin), each.media_id) for each in some])
        return some

    deleted: list[str] = []
    place = START
    while goes_on() and (some := await database.write(delete_some, place)):
        place = some[-1]
        deleted += [each.media_id for each in some]
        await sweeper.sweep()
    return deleted


def _uri(which: Which) -> MxcURI:
    return MxcURI(f"mxc://{which[0]}/{which[1]}")


def _check_there(txn: Txn, which: Which) -> None:
    if table.find_kept(txn, *which) is None:
        raise NotFound


def _quarantine(txn: Txn, which: Which, by: UserID, now_ms: int) -> None:
    _check_there(txn, which)
    table.set_quarantined(txn, [which], by, now_ms)


def _release(txn: Txn, which: Which) -> None:
    _check_there(txn, which)
    table.remove_quarantine(txn, *which)


def _protect(txn: Txn, which: Which, protected: bool) -> None:
    if not table.set_protected(txn, *which, protected):
        raise NotFound


def _delete(txn: Txn, which: Which) -> None:
    _check_there(txn, which)
    doom_media(txn, [which])


def _delete_page(txn: Txn, user_id: UserID, page: Page) -> list[str]:
    kept, _ = table.load_user_media(txn, user_id, page)
    doom_media(txn, [(each.record.origin, each.record.media_id) for each in kept])
    return [each.record.media_id for each in kept]
