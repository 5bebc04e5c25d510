"""A server is killed while somebody comes into a room of another, or goes: what was acknowledged is so, all else can be
done again, and the room is the same on both sides.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from tests.kit.killing import Kill, Pair, again, is_whole, joined, killed, was_done
from tests.kit.strangers import V3, Person

EITHER_WAY = pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
"""The room is at the server on that database."""


def membership(reader: Person, room_id: str, person: Person) -> str:
    """What somebody is in a room, as another one reads it."""
    found: str = reader.state(room_id, "m.room.member", person.user_id)["membership"]
    return found


JOINS = [
    Kill(("away",), "home", "/make_join/"),
    Kill(("away",), "home", "/send_join/", "request"),
    Kill(("away",), "home", "/send_join/"),
    Kill(("away",), "away", "/v3/join/"),
    Kill(("home",), "home", "/send_join/", "request"),
    Kill(("home",), "home", "/send_join/", lost=True),
    Kill(("home", "away"), "home", "/send_join/"),
]


@EITHER_WAY
@pytest.mark.parametrize("kill", JOINS, ids=str)
def test_a_join(pair: Pair, people: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = people
    room_id = anna.create("12")
    said = ["before"]
    anna.say(room_id, "before")
    with killed(pair, kill, lambda: bob.join(room_id, pair.home.name)) as attempt:
        if "home" not in kill.whom:
            anna.say(room_id, "meanwhile")
            said.append("meanwhile")
    if was_done(attempt) or kill.asked == "away":
        assert joined(bob) == [room_id]
    again(bob, lambda: bob.join(room_id, pair.home.name))
    assert joined(bob) == [room_id]
    is_whole(room_id, anna, bob, *said)


@pytest.mark.parametrize("kill", JOINS[2:5:2], ids=str)
def test_a_join_for_those_of_a_space(pair: Pair, people: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = people
    space = anna.create("12")
    bob.join(space, pair.home.name)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    room_id = anna.create("11", preset="private_chat", initial_state=state)
    with killed(pair, kill, lambda: bob.join(room_id, pair.home.name)) as attempt:
        pass
    was_done(attempt)
    again(bob, lambda: bob.join(room_id, pair.home.name))
    is_whole(room_id, anna, bob)


@EITHER_WAY
@pytest.mark.parametrize("dies", [False, True])
def test_what_is_said_while_a_join_is_answered_is_heard(pair: Pair, people: tuple[Person, Person], dies: bool) -> None:
    anna, bob = people
    room_id = anna.create("12")
    with ThreadPoolExecutor(1) as meanwhile, pair.home.gate.stop("/send_join/", "answer") as let_in:
        joining = meanwhile.submit(bob.join, room_id, pair.home.name)
        let_in.wait()
        with pair.away.gate.stop("meanwhile", "request") as told:
            event_id = anna.say(room_id, "meanwhile")
            told.wait()
        if dies:
            pair.away.kill()
    if dies:
        assert not was_done(joining)
        pair.away.start()
        again(bob, lambda: bob.join(room_id, pair.home.name))
    else:
        bob.hears(room_id, event_id)
    is_whole(room_id, anna, bob, "meanwhile")


INVITES = [
    Kill(("home",), "away", "/invite/", "request"),
    Kill(("home",), "away", "/invite/"),
    Kill(("away",), "away", "/invite/", lost=True),
    Kill(("home",), "home", "/v3/rooms/"),
]


@pytest.mark.parametrize("kill", INVITES, ids=str)
def test_an_invitation(pair: Pair, people: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = people
    room_id = anna.create("12", preset="private_chat")
    with killed(pair, kill, lambda: anna.move(room_id, "invite", bob)) as attempt:
        pass
    if was_done(attempt) or kill.asked == "home":
        assert membership(anna, room_id, bob) == "invite"
    again(anna, lambda: anna.move(room_id, "invite", bob))
    bob.is_invited(room_id)
    again(bob, lambda: bob.join(room_id, pair.home.name))
    is_whole(room_id, anna, bob)


REFUSALS = [
    Kill(("away",), "home", "/send_leave/", "request"),
    Kill(("away",), "home", "/send_leave/"),
    Kill(("away",), "away", "/v3/rooms/"),
    Kill(("home",), "home", "/send_leave/", lost=True),
]


@pytest.mark.parametrize("kill", REFUSALS, ids=str)
def test_a_refusal_of_an_invitation(pair: Pair, people: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = people
    room_id = anna.create("12", preset="private_chat")
    anna.move(room_id, "invite", bob)
    bob.is_invited(room_id)
    with killed(pair, kill, lambda: bob.move(room_id, "leave")) as attempt:
        pass
    was_done(attempt)
    again(bob, lambda: bob.move(room_id, "leave"))
    assert room_id not in bob.ask("GET", f"{V3}/sync").get("rooms", {}).get("invite", {})
    anna.ask_until(lambda: membership(anna, room_id, bob), "leave".__eq__)
    anna.move(room_id, "invite", bob)
    again(bob, lambda: bob.join(room_id, pair.home.name))
    is_whole(room_id, anna, bob)


KNOCKS = [
    Kill(("away",), "home", "/send_knock/"),
    Kill(("away",), "away", "/v3/knock/"),
    Kill(("home",), "home", "/send_knock/", lost=True),
]


@pytest.mark.parametrize("kill", KNOCKS, ids=str)
def test_a_knock(pair: Pair, people: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = people
    state = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room_id = anna.create("12", preset="private_chat", initial_state=state)
    path = f"{V3}/knock/{quote(room_id, safe='')}?via={quote(pair.home.name)}"
    with killed(pair, kill, lambda: bob.ask("POST", path, {})) as attempt:
        pass
    was_done(attempt)
    again(bob, lambda: bob.ask("POST", path, {}))
    assert room_id in bob.ask("GET", f"{V3}/sync")["rooms"]["knock"]
    assert membership(anna, room_id, bob) == "knock"
    anna.move(room_id, "invite", bob)
    bob.is_invited(room_id)
    again(bob, lambda: bob.join(room_id, pair.home.name))
    is_whole(room_id, anna, bob)


def test_a_leave_that_only_the_dead_knew_of_is_told(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = anna.create("12")
    bob.join(room_id, pair.home.name)
    is_whole(room_id, anna, bob)
    leave = Kill(("away",), "away", "/v3/rooms/")
    with pair.home.gate.stop("/send/", "request"), killed(pair, leave, lambda: bob.move(room_id, "leave")):
        pass
    assert joined(bob) == []
    anna.ask_until(lambda: membership(anna, room_id, bob), "leave".__eq__)
    again(bob, lambda: bob.join(room_id, pair.home.name))
    bob.told.clear()  # who is back is told the latest again
    is_whole(room_id, anna, bob, "of Anna", "of Bob")


def test_an_upgrade(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    old_id = anna.create("11")
    bob.join(old_id, pair.home.name)
    tag = f"{V3}/user/{quote(bob.user_id)}/rooms/{{}}/tags"
    bob.ask("PUT", tag.format(quote(old_id)) + "/u.dear", {"order": 0.5})
    is_whole(old_id, anna, bob)
    upgrade = Kill(("away",), "away", "/send/", lost=True)
    wanted = {"new_version": "12"}
    with killed(pair, upgrade, lambda: anna.ask("POST", f"{anna.room(old_id)}/upgrade", wanted)) as attempt:
        pass
    room_id = attempt.result()["replacement_room"]

    def look(answer: dict[str, Any]) -> bool | None:
        events = answer["rooms"]["join"].get(old_id, {}).get("timeline", {}).get("events", ())
        return any(event["type"] == "m.room.tombstone" for event in events) or None

    bob.until(lambda answer: look(answer) if "rooms" in answer else None)
    with killed(pair, Kill(("away",), "away", "/v3/join/"), lambda: bob.join(room_id, pair.home.name)) as attempt:
        pass
    assert set(joined(bob)) == {old_id, room_id}
    assert bob.ask("GET", tag.format(quote(room_id)))["tags"] == {"u.dear": {"order": 0.5}}
    is_whole(room_id, anna, bob)
