"""Sending what relates to another event: what a server refuses of it.

What breaks other rules of relations may be sent, and then relates to nothing for whoever reads it.

Spec: client-server-api#avoiding-duplicate-annotations, client-server-api#validation-of-mthread-relationships
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

from homeserver.policy import Invalid
from homeserver.rooms.room import Room
from homeserver.rooms.seal import Draft
from homeserver.storage.database import Database
from homeserver.storage.relations import find_relation, has_annotation, is_related
from homeserver.storage.threads import Relation


class DuplicateAnnotation(Invalid):
    """The sender has annotated the event like that already."""

    def __init__(self) -> None:
        super().__init__("M_DUPLICATE_ANNOTATION", "You have annotated the event like that already")


class Relating:
    """Judges what people want to relate to."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._annotating: set[tuple[int, str, str, str, str]] = set()

    @asynccontextmanager
    async def checked(self, room: Room, draft: Draft) -> AsyncIterator[None]:
        """Hold while an event is sent that relates to another.

        Raises: Invalid for a thread off what is itself related, and for the second of two equal annotations.
        """
        relation = find_relation(draft.content)
        if relation is not None and relation.type == "m.thread" and await self._is_related(room, relation.event_id):
            raise Invalid("M_UNKNOWN", "A thread does not start from an event that relates to another")
        annotation = _annotation_of(draft, relation)
        if annotation is None:
            yield
            return
        place = (room.nid, *annotation)
        if place in self._annotating:
            raise DuplicateAnnotation
        self._annotating.add(place)
        try:
            if await self._db.read(has_annotation, room.nid, annotation):
                raise DuplicateAnnotation
            yield
        finally:
            self._annotating.discard(place)

    async def _is_related(self, room: Room, event_id: str) -> bool:
        held = room.find_recent(event_id)
        if held is not None:
            return find_relation(held.event.content) is not None
        return await self._db.read(is_related, room.nid, event_id)


def _annotation_of(draft: Draft, relation: Relation | None) -> tuple[str, str, str, str] | None:
    """What is annotated, by whom, with events of which type, and how."""
    if relation is None or relation.type != "m.annotation":
        return None
    key = cast("Mapping[str, object]", draft.content["m.relates_to"]).get("key")
    return (relation.event_id, draft.sender, draft.type, key) if isinstance(key, str) else None
