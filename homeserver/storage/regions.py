"""The table of the signed list of regions: the one that was accepted last."""

from typing import NamedTuple

from homeserver.storage.database import Txn


class StoredList(NamedTuple):
    """A list of regions: its version, the authority's keys that were configured when it was accepted, and itself."""

    version: int
    anchor: bytes
    raw: bytes


def find_region_list(txn: Txn) -> StoredList | None:
    """The list that was accepted last."""
    row = txn.one("SELECT version, anchor, raw FROM region_lists")
    return None if row is None else StoredList(*row)


def set_region_list(txn: Txn, accepted: StoredList) -> None:
    """Keep this list and no other."""
    txn.run("DELETE FROM region_lists")
    txn.run("INSERT INTO region_lists (version, anchor, raw) VALUES (?, ?, ?)", accepted)
