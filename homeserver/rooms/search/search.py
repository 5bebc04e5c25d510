"""The door to searching.

Spec: client-server-api#post_matrixclientv3search
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from federation.errors import Refused
from federation.ids import RoomID, UserID
from homeserver.rooms.render import Asker, render_seen
from homeserver.rooms.search.asks import GroupKey, Point, SearchAsk, encode_point, parse_point
from homeserver.rooms.search.follower import catch_up
from homeserver.rooms.search.hits import FULL_RANK
from homeserver.rooms.search.pages import Found, Quest, Result, begin_quest, read_page
from homeserver.rooms.view import Views
from homeserver.storage.database import Database
from homeserver.storage.events import RoomEvent
from homeserver.storage.state import load_state


class Search:
    """Finds what was written in people's rooms, for them."""

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views

    async def find(self, asker: Asker, ask: SearchAsk, token: str | None) -> dict[str, object]:
        """A page of results, in client form.

        Raises: Invalid for what is no token of this search.
        Spec: client-server-api#post_matrixclientv3search
        """
        digest = ask.digest(asker.user_id)
        point = Point(digest=digest) if token is None else parse_point(token, digest)
        await catch_up(self._db)
        quest = await self._vet(await self._db.read(begin_quest, asker.user_id, ask))
        found = await self._db.read(read_page, quest, point)
        answer: dict[str, object] = {
            "count": found.count,
            "highlights": _gather_words(found.results),
            "results": [_show(result, asker, quest) for result in found.results],
        }
        if ask.groups:
            answer["groups"] = {key: _gather_group(key, found) for key in ask.groups}
        if ask.state:
            answer["state"] = await self._load_states(asker.user_id, quest, found)
        if found.more is not None:
            answer["next_batch"] = encode_point(found.more)
        return answer

    async def _vet(self, quest: Quest) -> Quest:
        """The search without the rooms that the person has left and may not look back into."""
        closed = set()
        for nid, ground in quest.grounds.items():
            if ground.left:
                try:
                    await self._views.open(quest.user_id, ground.record.room_id)
                except Refused:
                    closed.add(nid)
        return quest.narrow({nid: ground for nid, ground in quest.grounds.items() if nid not in closed})

    async def _load_states(self, user_id: UserID, quest: Quest, found: Found) -> dict[RoomID, list[msgspec.Raw]]:
        """The state of each room that has results, as of now or as of the person's leaving."""
        senders: dict[RoomID, set[UserID]] = {}
        for result in found.results:
            people = {seen.held.event.sender for seen in result.context.events}
            senders.setdefault(result.ground.record.room_id, set()).update(people)
        lazy = quest.ask.wanted.lazy_load_members
        states = {}
        for room_id, people in senders.items():
            state = await self._load_state(user_id, room_id)
            shown = [held for held in state if not lazy or held.type != "m.room.member" or held.state_key in people]
            states[room_id] = [msgspec.Raw(held.client) for held in shown]
        return states

    async def _load_state(self, user_id: UserID, room_id: RoomID) -> Iterable[RoomEvent]:
        try:
            view = await self._views.open(user_id, room_id)
        except Refused:  # since the results were read
            return ()
        if view.left is None:
            return view.room.shown.state.values()
        return (await self._db.read(load_state, view.room.record, view.left.group)).values()


def _show(result: Result, asker: Asker, quest: Quest) -> dict[str, object]:
    event = msgspec.Raw(render_seen(result.context.event, asker))
    shown: dict[str, object] = {"rank": result.hit.rank / FULL_RANK, "result": event}
    if quest.ask.around is not None:
        shown["context"] = result.context.encode(asker)
        if quest.ask.around.profiles:
            profiles = {held.state_key: _profile(held.event.content) for held in result.profiles}
            shown["context"] = {**result.context.encode(asker), "profile_info": profiles}
    return shown


def _profile(content: Mapping[str, object]) -> dict[str, str]:
    named = {name: content.get(name) for name in ("displayname", "avatar_url")}
    return {name: value for name, value in named.items() if isinstance(value, str)}


def _gather_words(results: Sequence[Result]) -> list[str]:
    """The words to highlight, each form once whatever its case."""
    forms = {shown.casefold(): shown for result in reversed(results) for shown in reversed(result.hit.words)}
    return list(forms.values())[::-1]


def _gather_group(key: GroupKey, found: Found) -> dict[str, dict[str, object]]:
    """The results by their room or sender, the groups in the order of the first of each.

    Spec: client-server-api#groups
    """
    groups: dict[str, list[str]] = {}
    for result in found.results:
        event = result.context.event.held.event
        value: str = result.ground.record.room_id if key == "room_id" else event.sender
        groups.setdefault(value, []).append(event.event_id)
    gathered: dict[str, dict[str, object]] = {}
    for order, (value, event_ids) in enumerate(groups.items(), 1):
        gathered[value] = {"order": order, "results": event_ids}
        if found.more is not None and found.more.group in (None, (key, value)):
            more = msgspec.structs.replace(found.more, group=(key, value))
            gathered[value]["next_batch"] = encode_point(more)
    return gathered
