"""Rooms that two people have in common.

Spec: client-server-api#mutual-rooms
"""

from typing import Final

from federation.errors import BadIdentifier
from federation.ids import RoomID, UserID, parse_user_id
from homeserver.policy import Invalid, Policy, SeeProfile, allows
from homeserver.storage.database import Database, Txn
from homeserver.storage.members import count_mutual, load_mutual

MOST_ROOMS: Final = 100
"""How many rooms a page has."""


class Mutual:
    """Tells which rooms somebody shares with others."""

    def __init__(self, database: Database, policy: Policy) -> None:
        self._db = database
        self._policy = policy

    async def rooms(self, by: UserID, other: str, since: str | None) -> dict[str, object]:
        """A page of the rooms that both are joined to, in client form; none with somebody who is not to be seen.

        Raises: Invalid for what is no other person, or no token.
        Spec: client-server-api#get_matrixclientv1mutual_rooms
        """
        try:
            person = parse_user_id(other)
        except BadIdentifier as fault:
            raise Invalid("M_INVALID_PARAM", f"Not a user: {fault}") from None
        if person == by:
            raise Invalid("M_INVALID_PARAM", "That is yourself")
        after = _parse(since)
        if not await allows(self._policy, SeeProfile(by=by, person=person)):
            return {"joined": [], "count": 0}
        found, count = await self._db.read(_read, by, person, after)
        page = found[:MOST_ROOMS]
        answer: dict[str, object] = {"joined": [room_id for _, room_id in page], "count": count}
        if len(found) > MOST_ROOMS:
            answer["next_batch"] = str(page[-1][0])
        return answer


def _parse(since: str | None) -> int:
    if since is None:
        return 0
    if not (since.isascii() and since.isdecimal() and len(since) <= 18):
        raise Invalid("M_INVALID_PARAM", "Not a pagination token")
    return int(since)


def _read(txn: Txn, by: UserID, person: UserID, after: int) -> tuple[list[tuple[int, RoomID]], int]:
    return load_mutual(txn, by, person, after, MOST_ROOMS + 1), count_mutual(txn, by, person)
