"""What a person's clients keep here for themselves: account data, of rooms too, tags, and filters.

Spec: client-server-api#client-config, client-server-api#room-tagging, client-server-api#filtering
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from federation.errors import Refused
from federation.ids import RoomID, UserID, fits
from homeserver.policy import Invalid, NotFound
from homeserver.storage import data
from homeserver.storage.database import Database, Txn

SERVER_MANAGED: Final = frozenset({"m.fully_read", "m.push_rules"})
TAG_TYPE: Final = "m.tag"
MOST_TAGS: Final = 100


class ServerManaged(Exception):
    """Account data of this type is set by the server, in answer to other requests.

    Spec: client-server-api#server-behaviour
    """


class ClientConfig:
    """Account data: a person's own, and for the eyes of that person's clients only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def see(self, asker: UserID, user_id: UserID, kind: str, room_id: RoomID | None = None) -> bytes:
        """The account data of that type: a JSON object, as it was set.

        Raises:
            Refused: It is not the asker's.
            NotFound: None was set.

        Spec: client-server-api#get_matrixclientv3useruseridaccount_datatype
        """
        _check_owner(asker, user_id)
        content = await self._database.read(data.find_account_data, user_id, kind, room_id)
        if content is None:
            raise NotFound("There is no account data of this type")
        return content

    async def set(
        self, asker: UserID, user_id: UserID, kind: str, content: bytes, room_id: RoomID | None = None
    ) -> None:
        """Set the account data of that type; `content` is a JSON object.

        Raises:
            Refused: It is not the asker's.
            ServerManaged: Only the server sets this type.
            Invalid: The type is too long.

        Spec: client-server-api#put_matrixclientv3useruseridaccount_datatype
        """
        _check_owner(asker, user_id)
        if kind in SERVER_MANAGED:
            raise ServerManaged(f"{kind} is set by the server")
        if not fits(kind) or not kind:
            raise Invalid("M_INVALID_PARAM", "Not a type of account data")
        await self._database.write(data.set_account_data, user_id, kind, content, room_id)

    async def tags(self, asker: UserID, user_id: UserID, room_id: RoomID) -> dict[str, Any]:
        """The tags a person gave a room, by name.

        Raises:
            Refused: They are not the asker's.

        Spec: client-server-api#get_matrixclientv3useruseridroomsroomidtags
        """
        _check_owner(asker, user_id)
        return _tags(await self._database.read(data.find_account_data, user_id, TAG_TYPE, room_id))

    async def set_tag(
        self, asker: UserID, user_id: UserID, room_id: RoomID, name: str, tag: Mapping[str, Any] | None
    ) -> None:
        """Give a room a tag, or take it away (None).

        Raises:
            Refused: It is not the asker's to give.
            Invalid: The name or the order is not one, or the room has too many tags.

        Spec: client-server-api#put_matrixclientv3useruseridroomsroomidtagstag
        """
        _check_owner(asker, user_id)
        if tag is not None:
            _check_tag(name, tag)
        await self._database.write(_set_tag, user_id, room_id, name, tag)


class Filters:
    """Filters that clients have left here to refer to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, asker: UserID, user_id: UserID, definition: Mapping[str, Any]) -> str:
        """Keep a filter and give its ID; the same filter has the same ID.

        Raises:
            Refused: It is for somebody else.

        Spec: client-server-api#post_matrixclientv3useruseridfilter
        """
        _check_owner(asker, user_id)
        encoded = msgspec.json.encode(definition, order="sorted")
        digest = blake2b(encoded, digest_size=16).digest()
        return str(await self._database.write(data.append_filter, user_id, digest, encoded))

    async def see(self, asker: UserID, user_id: UserID, filter_id: str) -> bytes:
        """The definition of a filter: a JSON object.

        Raises:
            Refused: It is not the asker's.
            NotFound: The person has none of that ID.

        Spec: client-server-api#get_matrixclientv3useruseridfilterfilterid
        """
        _check_owner(asker, user_id)
        found = await self.find(user_id, filter_id)
        if found is None:
            raise NotFound("There is no such filter")
        return found

    async def find(self, user_id: UserID, filter_id: str) -> bytes | None:
        """The definition of a person's own filter; None when there is none of that ID."""
        if not (filter_id.isascii() and filter_id.isdecimal() and len(filter_id) <= 9):
            return None
        return await self._database.read(data.find_filter, user_id, int(filter_id))


def _check_owner(asker: UserID, user_id: UserID) -> None:
    if asker != user_id:
        raise Refused("account data", "This belongs to somebody else")


def _check_tag(name: str, tag: Mapping[str, Any]) -> None:
    order = tag.get("order")
    if not fits(name) or not name:
        raise Invalid("M_INVALID_PARAM", "The name of a tag has 1 to 255 bytes")
    if order is not None and (isinstance(order, bool) or not isinstance(order, int | float) or not 0 <= order <= 1):
        raise Invalid("M_INVALID_PARAM", "The order of a tag is a number from 0 to 1")


def _tags(content: bytes | None) -> dict[str, Any]:
    """The tags in account data that a client may have written in any shape."""
    tags = msgspec.json.decode(content).get("tags") if content else None
    return tags if isinstance(tags, dict) else {}


def _set_tag(txn: Txn, user_id: UserID, room_id: RoomID, name: str, tag: Mapping[str, Any] | None) -> None:
    before = _tags(data.find_account_data(txn, user_id, TAG_TYPE, room_id))
    after = {key: old for key, old in before.items() if key != name}
    if tag is not None:
        after[name] = tag
    if len(after) > max(MOST_TAGS, len(before)):
        raise Invalid("M_INVALID_PARAM", f"A room has at most {MOST_TAGS} tags")
    if after != before:
        data.set_account_data(txn, user_id, TAG_TYPE, msgspec.json.encode({"tags": after}), room_id)
