"""Some people in some rooms of a server, with devices that follow them; and what must be true of them after a fault."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from threading import Event
from typing import Any

from homeserver.rooms.transactions import MOST_REQUESTS
from tests.faults.caller import Caller, Refusal, log_in, register
from tests.faults.load import (
    NOTE,
    STATE,
    Deed,
    Follower,
    Message,
    Move,
    Note,
    Person,
    Receipt,
    Redaction,
    Rename,
    Setting,
    Upload,
    Whisper,
    bear_nothing,
    continue_timeline,
    read_room,
    read_sync,
)

NAMES = ("anna", "boris", "vera", "gleb")
KNOWN_AGAIN = MOST_REQUESTS // 2
"""How many requests of a device are known again for sure: a redaction counts twice."""


MOST_LOOKS = 50
LOOK_MS = 200


class Village:
    """Four people in three rooms and in one that they come to and go from; two have a second device that syncs."""

    def __init__(self, port: int, chance: Random) -> None:
        self.port = port
        callers = [register(port, name) for name in NAMES]
        self.rooms = [_open_room(callers) for _ in range(3)]
        self.passage = _open_room(callers)
        self.people = [Person(caller, Random(chance.random()), self.rooms, self.passage) for caller in callers]
        self.followers = [
            Follower(log_in(port, name), wait_ms=wait) for name, wait in zip(NAMES, (5000, 0), strict=False)
        ]
        warden = register(port, "warden")
        for room in (*self.rooms, self.passage):
            warden.call("POST", "/join/{}", {}, room)
        self.warden = warden
        self.watch = Follower(log_in(port, "warden"), wait_ms=5000)
        self.followers.append(self.watch)
        for person in self.people:
            person.friends = self.followers
        for follower in self.followers:
            follower.catch_up()
        self._bookmarks: list[tuple[Follower, str, dict[str, str]]] = []

    @contextmanager
    def at_work(
        self, told: Callable[[Deed], None] = lambda deed: None, bear: Callable[[Refusal], None] = bear_nothing
    ) -> Iterator[Event]:
        """Everybody works and follows for the length of the block, or until the server is gone.

        `told` hears of each deed that was acknowledged, `bear` of each request that was refused. Yields what to set to
        let them end; raises what somebody raised.
        """
        stop = Event()
        workers = len(self.people) + len(self.followers)
        with ThreadPoolExecutor(workers) as threads:
            work = [threads.submit(person.work, told, stop, bear) for person in self.people]
            work += [threads.submit(follower.follow, stop, bear) for follower in self.followers]
            try:
                yield stop
            finally:
                stop.set()
        for done in work:
            done.result()

    def bookmark(self) -> None:
        """Keep how far everybody has synced, for `check_bookmarks`."""
        for follower in self.followers:
            last = {room: events[-1] for room, events in follower.events.items()}
            self._bookmarks.append((follower, follower.token, last))

    def hang_up(self) -> None:
        """Leave the connections to a server that is gone."""
        callers = [person.caller for person in self.people] + [follower.caller for follower in self.followers]
        for caller in (*callers, self.warden):
            caller.close()

    # after a fault

    def check_what_was_done(self) -> None:
        """What was acknowledged is there, once; what was in hand is there at most once; nothing else is."""
        for room in (*self.rooms, self.passage):
            self._check_room(room, read_room(self.warden, room))
        for person in self.people:
            self._check_notes(person)
            self._check_place(person)
            check_uploads(person.caller, list(person.did(Upload))[-3:])

    def finish(self) -> None:
        """Everybody finishes what is in hand."""
        for person in self.people:
            while person.in_hand is not None:
                person.act()

    def check_repeats(self, most: int) -> None:
        """The last requests of everybody are answered as the first time, and do nothing."""
        for person in self.people:
            sent = [deed for deed in person.done if isinstance(deed, Message | Redaction)]
            person.repeat(sent[-most:])
            for whisper in list(person.did(Whisper))[-most // 10 :]:
                whisper.do(person.caller)

    def check_typing(self) -> None:
        """Who types now is seen with a token from before."""
        anna, room = self.people[0].caller, self.rooms[0]
        path = "/rooms/{}/typing/{}"
        anna.call("PUT", path, {"typing": True, "timeout": 30000}, room, anna.user_id)
        self.watch.typing = {}
        for _ in range(10):
            self.watch.sync(1000)
            if room in self.watch.typing:
                break
        assert self.watch.typing[room] == [anna.user_id]
        anna.call("PUT", path, {"typing": False}, room, anna.user_id)

    def check_followers(self) -> None:
        """Everybody who followed has seen all that happened, in order and once."""
        for follower in self.followers:
            follower.catch_up()
            for room, events in follower.events.items():
                whole = [event["event_id"] for event in read_room(follower.caller, room)]
                missed = whole[whole.index(events[0]) :]
                where = f"{follower.caller.user_id} in {room}{' (the passage)' * (room == self.passage)}: "
                assert events == missed, where + _difference(events, missed)
            whispers = Counter(follower.whispers)
            sent = [whisper.key for person in self.people for whisper in person.did(Whisper) if whisper.to is follower]
            assert whispers == Counter(sent), whispers - Counter(sent) or Counter(sent) - whispers
        for follower, person in zip(self.followers[:2], self.people, strict=False):
            notes = {room: note.key for room, note in _last_notes(person).items()}
            assert follower.notes == notes, person.name

    def check_bookmarks(self) -> None:
        """With every token of before a fault a sync gives just what came after it."""
        for follower, token, last in self._bookmarks:
            rooms = read_sync(follower.caller, token).get("rooms", {})
            for room, event_id in last.items():
                part = rooms.get("join", {}).get(room) or rooms.get("leave", {}).get(room) or {}
                came = continue_timeline(follower.caller, room, part, event_id)
                events = follower.events[room]
                assert came == events[events.index(event_id) + 1 :], (token, room)

    def check_everything(self) -> None:
        """All that can be checked once nobody has anything in hand."""
        self.finish()
        self.check_repeats(KNOWN_AGAIN)
        self.check_what_was_done()
        for person in self.people:
            check_uploads(person.caller, person.did(Upload))
            _check_receipts(person)
            self._check_name(person)
        self.check_followers()
        self.check_bookmarks()

    # details

    def _check_room(self, room: str, events: list[dict[str, Any]]) -> None:
        ids = Counter(event["event_id"] for event in events)
        assert max(ids.values()) == 1, [event_id for event_id, number in ids.items() if number > 1]
        by_id = {event["event_id"]: event for event in events}
        in_hand = [person.in_hand for person in self.people]
        said = {deed.event_id: deed for deed in self._did(Message) if deed.room == room}
        settings = {deed.event_id: deed for deed in self._did(Setting) if deed.room == room}
        redactions = {deed.event_id: deed for deed in self._did(Redaction) if deed.target.room == room}
        for event_id in (*said, *settings, *redactions):
            assert event_id in by_id, f"an acknowledged event is not there: {event_id} in {room}"
        redacted = {deed.target.event_id for deed in redactions.values()}
        maybe_redacted = {deed.target.event_id for deed in in_hand if isinstance(deed, Redaction)}
        for event_id, message in said.items():
            content = by_id[event_id]["content"]
            assert content == {} or event_id not in redacted, f"the redaction of {event_id} is forgotten"
            assert content.get("body") == message.key or event_id in redacted | maybe_redacted, by_id[event_id]
        self._check_strays(events, (*said, *settings, *redactions), in_hand)

    def _check_strays(self, events: list[dict[str, Any]], known: Iterable[str], in_hand: list[Deed | None]) -> None:
        """Events of people's doing that were not acknowledged: each is in somebody's hand, or a setting made again."""
        kinds = ("m.room.message", "m.room.redaction", STATE)
        strays = [event for event in events if event["type"] in kinds and event["event_id"] not in set(known)]
        allowed = Counter(_key_in_hand(deed) for deed in in_hand if deed is not None)
        again = {deed.key for deed in self._did(Setting) if deed.interrupted}
        for event in strays:
            kind, key = _key_of(event)
            if kind == STATE and key in again:
                continue
            assert allowed[kind, key], f"nobody was told of {event}"
            allowed[kind, key] -= 1

    def _did(self, kind: type[Any]) -> Iterator[Any]:
        return (deed for person in self.people for deed in person.did(kind))

    def _check_notes(self, person: Person) -> None:
        for room, note in _last_notes(person).items():
            path, parts = note.path
            kept = person.caller.call("GET", path, None, *parts)["key"]
            hand = person.in_hand
            maybe = hand.key if isinstance(hand, Note) and hand.room == room else note.key
            assert kept in (note.key, maybe), f"{person.name}'s {NOTE} of {room or 'no room'} is {kept}, not {note.key}"

    def _check_name(self, person: Person) -> None:
        """The last name is seen in every room; it may take a moment to get there."""
        names = [rename.name for rename in person.did(Rename)]
        for room in [*self.rooms, self.passage] if person.is_inside and names else ():
            path, parts = "/rooms/{}/state/m.room.member/{}", (room, person.caller.user_id)
            for _ in range(MOST_LOOKS):
                shown = self.warden.call("GET", path, None, *parts).get("displayname")
                if shown == names[-1]:
                    break
                self.watch.sync(LOOK_MS)
            assert shown == names[-1], f"{person.name} is still called {shown} in {room}"

    def _check_place(self, person: Person) -> None:
        if isinstance(person.in_hand, Move):
            return
        joined = self.warden.call("GET", "/rooms/{}/joined_members", None, self.passage)["joined"]
        assert (person.caller.user_id in joined) == person.is_inside, person.name


def check_uploads(caller: Caller, uploads: Iterable[Upload]) -> None:
    """What was uploaded comes down again."""
    for upload in uploads:
        where = upload.uri.removeprefix("mxc://")
        answer = caller.ask("GET", f"/_matrix/client/v1/media/download/{where}")
        assert (answer.status, answer.body) == (200, upload.content), upload.uri


def _open_room(callers: list[Caller]) -> str:
    wish = {"preset": "public_chat", "power_level_content_override": {"state_default": 0}}
    room: str = callers[0].call("POST", "/createRoom", wish)["room_id"]
    for caller in callers[1:]:
        caller.call("POST", "/join/{}", {}, room)
    return room


def _last_notes(person: Person) -> dict[str, Note]:
    return {note.room: note for note in person.did(Note)}


def _key_of(event: dict[str, Any]) -> tuple[str, str]:
    """By what an event of people's doing can be told from others: its type, and its text or target."""
    content, kind = event["content"], event["type"]
    if kind == "m.room.redaction":
        return kind, content.get("redacts") or event["redacts"]
    return kind, content.get("body") or content.get("key", "")


def _key_in_hand(deed: Deed) -> tuple[str, str]:
    match deed:
        case Message():
            return "m.room.message", deed.key
        case Redaction():
            return "m.room.redaction", deed.target.event_id
        case Setting():
            return STATE, deed.key
    return "", ""


def _check_receipts(person: Person) -> None:
    """The last acknowledged receipt of each room is the one that a first sync shows."""
    last = {receipt.target.room: receipt.target.event_id for receipt in person.did(Receipt)}
    rooms = read_sync(person.caller, "")["rooms"]["join"]
    for room, event_id in last.items():
        shown = [event["content"] for event in rooms[room]["ephemeral"]["events"] if event["type"] == "m.receipt"]
        readers = [readers.get("m.read", {}) for receipts in shown for readers in [receipts.get(event_id, {})]]
        assert any(person.caller.user_id in there for there in readers), f"{person.name}'s receipt in {room}"


def _difference(came: list[str], whole: list[str]) -> str:
    """Where two lists of event IDs part."""
    counted, wanted = Counter(came), Counter(whole)
    missing = [whole.index(event_id) for event_id in wanted - counted]
    twice = [event_id for event_id, number in counted.items() if number > 1]
    return f"missing (by number): {missing[:10]}; twice: {twice[:10]}; of {len(whole)}; same order: {counted == wanted}"
