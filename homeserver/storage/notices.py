"""The rooms in which people get the server's notices, one for each.

Spec: client-server-api#server-notices
"""

from federation.ids import RoomID, UserID
from homeserver.storage.database import Txn


def find_notice_room(txn: Txn, user_id: UserID) -> RoomID | None:
    """The room of somebody's notices."""
    row = txn.one("SELECT room_id FROM notice_rooms WHERE user_id = ?", (user_id,))
    return None if row is None else RoomID(row[0])


def set_notice_room(txn: Txn, user_id: UserID, room_id: RoomID) -> None:
    """Say which room is that of somebody's notices."""
    txn.run(
        "INSERT INTO notice_rooms (user_id, room_id) VALUES (?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET room_id = excluded.room_id",
        (user_id, room_id),
    )
