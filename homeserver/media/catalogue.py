"""What operators see of files: one, those of a room, those of a person, and who has how many; each look is noted."""

from collections.abc import Sequence

from federation.ids import RoomID, ServerName, UserID
from homeserver.operators import Operators
from homeserver.policy import Administer, NotFound
from homeserver.storage.database import Database
from homeserver.storage.media import keeping as table
from homeserver.storage.media.keeping import KeptMedia, Page, Span, Usage, Which
from homeserver.storage.rooms import find_room


class Catalogue:
    """The list of all files, for operators. Each raises `Refused` where the policy has it so."""

    def __init__(self, server_name: ServerName, database: Database, operators: Operators) -> None:
        self._server_name = server_name
        self._database = database
        self._operators = operators

    async def find(self, by: UserID, origin: ServerName, media_id: str) -> KeptMedia:
        """Find a file, in quarantine or not.

        Raises: NotFound.
        """
        act = Administer(by=by, deed="see_media")
        entry = await self._operators.check(act, media=f"mxc://{origin}/{media_id}")
        found = await self._database.read(table.find_kept, origin, media_id)
        if found is None:
            raise NotFound
        await self._operators.note(entry)
        return found

    async def of_room(self, by: UserID, room_id: RoomID, after: Which, most: int) -> Sequence[Which]:
        """A page of what the events of a room refer to, as far as they are not encrypted.

        Raises: NotFound: there is no such room.
        """
        entry = await self._operators.check(Administer(by=by, deed="see_media", room_id=room_id))
        if await self._database.read(find_room, room_id) is None:
            raise NotFound
        await self._operators.note(entry)
        return await self._database.read(table.load_room_media, room_id, after, most)

    async def of_user(self, by: UserID, user_id: UserID, page: Page) -> tuple[Sequence[KeptMedia], int]:
        """A page of what a person has uploaded, and how much there is."""
        await self._look(Administer(by=by, deed="see_media", person=user_id))
        return await self._database.read(table.load_user_media, user_id, page)

    async def usage(self, by: UserID, span: Span, page: Page) -> tuple[Sequence[Usage], int]:
        """A page of who has uploaded how much, and how many such people there are."""
        await self._look(Administer(by=by, deed="see_media"))
        return await self._database.read(table.load_usage, self._server_name, span, page)

    async def _look(self, act: Administer) -> None:
        await self._operators.note(await self._operators.check(act))
