"""Parta and a real Synapse: everything that people at two homeservers do together, begun at either side."""

from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import quote, unquote

import pytest
from PIL import Image

from tests.kit.keys import Signer, cross_signing_key, device_keys, one_time_keys
from tests.kit.strangers import PASSWORD, V3, Denied, Person, ask
from tests.kit.synapse import VERSIONS, Pair, Side, meet


def test_profiles_are_seen_from_the_other_side(people: tuple[Person, Person]) -> None:
    anna, bob = people
    anna.ask("PUT", f"{V3}/profile/{anna.user_id}/displayname", {"displayname": "Anna A."})
    assert bob.ask("GET", f"{V3}/profile/{quote(anna.user_id)}")["displayname"] == "Anna A."
    assert bob.denied("GET", f"{V3}/profile/@nobody:{anna.user_id.partition(':')[2]}").status == 404


@pytest.mark.parametrize("version", VERSIONS)
def test_they_talk_in_a_room(pair: Pair, people: tuple[Person, Person], version: str) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob, version)
    assert anna.members(room_id) == bob.members(room_id) == {anna.user_id, bob.user_id}
    for speaker, listener in ((anna, bob), (bob, anna)):
        said = speaker.say(room_id, "hello")
        assert listener.hears(room_id, said)["content"]["body"] == "hello"
        edit = {"m.new_content": {"msgtype": "m.text", "body": "hi"}}
        edited = speaker.say(room_id, "* hi", **edit, **{"m.relates_to": {"rel_type": "m.replace", "event_id": said}})
        assert listener.hears(room_id, edited)["content"]["m.new_content"]["body"] == "hi"
        annotation = {"rel_type": "m.annotation", "event_id": said, "key": "+"}
        reacted = listener.send(room_id, {"m.relates_to": annotation}, "m.reaction")
        assert speaker.hears(room_id, reacted)["content"]["m.relates_to"]["key"] == "+"
        redaction = speaker.redact(room_id, said)
        listener.hears(room_id, redaction)
        assert listener.find(room_id, said)["content"] == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_power_is_the_same_on_both_sides(pair: Pair, people: tuple[Person, Person], version: str) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob, version)
    assert bob.denied("PUT", f"{bob.room(room_id)}/state/m.room.topic/", {"topic": "no"}).status == 403
    levels = anna.state(room_id, "m.room.power_levels")
    levels["users"] = {**levels.get("users", {}), bob.user_id: 50}
    bob.hears(room_id, anna.set_state(room_id, "m.room.power_levels", levels))
    anna.hears(room_id, bob.set_state(room_id, "m.room.topic", {"topic": "yes"}))
    assert anna.state(room_id, "m.room.topic")["topic"] == "yes"


@pytest.mark.parametrize("version", VERSIONS)
def test_people_are_invited_refuse_leave_are_kicked_and_banned(
    pair: Pair, people: tuple[Person, Person], version: str
) -> None:
    anna, bob = people
    room_id = anna.create(version, preset="private_chat", name="Den")
    assert bob.denied("POST", f"{V3}/join/{quote(room_id)}?via={pair.home.name}", {}).status == 403
    anna.move(room_id, "invite", bob)
    assert "Den" in [event["content"].get("name") for event in bob.is_invited(room_id)]
    bob.move(room_id, "leave")
    anna.sees(room_id, bob, "leave")
    bob.told.clear()
    anna.move(room_id, "invite", bob)
    bob.is_invited(room_id)
    bob.join(room_id, pair.home.name)
    anna.sees(room_id, bob, "join")
    bob.told.clear()
    anna.move(room_id, "kick", bob, reason="go")
    assert bob.sees(room_id, bob, "leave")["content"]["reason"] == "go"
    bob.told.clear()
    anna.move(room_id, "invite", bob)
    bob.is_invited(room_id)
    bob.join(room_id, pair.home.name)
    anna.move(room_id, "ban", bob)
    bob.sees(room_id, bob, "ban")
    assert bob.denied("POST", f"{V3}/join/{quote(room_id)}?via={pair.home.name}", {}).status == 403


def test_invited_when_the_room_is_made(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = anna.create("12", preset="trusted_private_chat", invite=[bob.user_id], is_direct=True)
    bob.is_invited(room_id)
    bob.join(room_id, pair.home.name)
    anna.hears(room_id, bob.say(room_id, "here"))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_said_before_is_read_by_who_comes_later(
    pair: Pair, people: tuple[Person, Person], version: str
) -> None:
    anna, bob = people
    room_id = anna.create(version)
    said = [anna.say(room_id, f"line {number}") for number in range(70)]
    bob.join(room_id, pair.home.name)
    read = [event["event_id"] for event in bob.read_back(room_id)]
    assert [event_id for event_id in read if event_id in set(said)] == said[::-1]


def test_who_was_away_catches_up(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob)
    with pair.away.away():
        said = [anna.say(room_id, f"line {number}") for number in range(60)]
    bob.hears(room_id, said[-1])
    read = [event["event_id"] for event in bob.read_back(room_id)]
    assert [event_id for event_id in read if event_id in set(said)] == said[::-1]
    anna.hears(room_id, bob.say(room_id, "back"))


def _types(person: Person, content: dict[str, Any]) -> bool:
    return person.user_id in content["user_ids"]


def _has_read(person: Person, event_id: str, content: dict[str, Any]) -> bool:
    return person.user_id in content.get(event_id, {}).get("m.read", {})


def test_typing_receipts_and_presence_are_told(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob)
    for one, other in ((anna, bob), (bob, anna)):
        said = other.say(room_id, "x")
        one.hears(room_id, said)
        one.ask("PUT", f"{one.room(room_id)}/typing/{quote(one.user_id)}", {"typing": True, "timeout": 20000})
        other.ephemeral(room_id, "m.typing", partial(_types, one))
        one.ask("POST", f"{one.room(room_id)}/receipt/m.read/{quote(said)}", {})
        other.ephemeral(room_id, "m.receipt", partial(_has_read, one, said))
        one.ask("PUT", f"{V3}/presence/{quote(one.user_id)}/status", {"presence": "online", "status_msg": "busy"})

        def look(answer: dict[str, object], who: Person = one) -> bool | None:
            presence: object = answer.get("presence", {})
            events = presence.get("events", []) if isinstance(presence, dict) else []
            heard = [event["content"].get("status_msg") for event in events if event["sender"] == who.user_id]
            return True if "busy" in heard else None

        other.until(look, f"presence of {one.user_id}")


def publish_keys(person: Person) -> dict[str, Any]:
    """Publish keys of a device, and one to begin with."""
    device = device_keys(person.user_id, person.device_id)
    body = {"device_keys": device, "one_time_keys": one_time_keys("AAAA")}
    person.ask("POST", f"{V3}/keys/upload", body)
    return device


def query_keys(asker: Person, person: Person) -> dict[str, Any]:
    """The keys of somebody."""
    found: dict[str, Any] = asker.ask("POST", f"{V3}/keys/query", {"device_keys": {person.user_id: []}})
    return found


def is_told_of_keys(person: Person, whose: Person) -> None:
    """Sync until it is told that somebody's keys have changed."""

    def look(answer: dict[str, dict[str, list[str]]]) -> bool | None:
        return True if whose.user_id in answer.get("device_lists", {}).get("changed", ()) else None

    person.until(look, f"keys of {whose.user_id}")


def test_devices_find_each_others_keys(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob)
    anna.set_state(room_id, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    for one, other in ((anna, bob), (bob, anna)):
        other.told.clear()
        keys = publish_keys(one)
        is_told_of_keys(other, one)
        assert query_keys(other, one)["device_keys"][one.user_id][one.device_id]["keys"] == keys["keys"]
        wanted = {"one_time_keys": {one.user_id: {one.device_id: "signed_curve25519"}}}
        claimed = other.ask("POST", f"{V3}/keys/claim", wanted)["one_time_keys"][one.user_id][one.device_id]
        assert claimed["signed_curve25519:AAAA"]["key"] == "key-AAAA"


def publish_cross_signing(person: Person, seed: str) -> dict[str, Any]:
    """Publish cross-signing keys, those that were there before replaced; they."""
    master, own = Signer(f"{seed} master"), Signer(f"{seed} own")
    user_id = person.user_id
    keys = {
        "master_key": cross_signing_key(user_id, "master", master),
        "self_signing_key": cross_signing_key(user_id, "self_signing", own, master),
        "user_signing_key": cross_signing_key(user_id, "user_signing", Signer(f"{seed} others"), master),
    }
    path = f"{V3}/keys/device_signing/upload"
    try:
        person.ask("POST", path, keys)
    except Denied as denial:
        proof = {"identifier": {"type": "m.id.user", "user": user_id}, "password": PASSWORD}
        auth = {"type": "m.login.password", "session": denial.body["session"], **proof}
        person.ask("POST", path, {**keys, "auth": auth})
    signed = own.sign(device_keys(user_id, person.device_id), user_id)
    person.ask("POST", f"{V3}/keys/signatures/upload", {user_id: {person.device_id: signed}})
    return keys


def test_cross_signing_keys_and_their_change_are_seen(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    meet(pair, anna, bob)
    publish_keys(anna)
    for seed in ("first", "second"):
        bob.told.clear()
        keys = publish_cross_signing(anna, seed)
        is_told_of_keys(bob, anna)
        (own,) = keys["self_signing_key"]["keys"]

        def is_signed(found: dict[str, Any], own: str = own) -> bool:
            device = found.get("device_keys", {}).get(anna.user_id, {}).get(anna.device_id, {})
            return own in device.get("signatures", {}).get(anna.user_id, ())

        found = bob.ask_until(lambda: query_keys(bob, anna), is_signed)
        for kind in ("master_key", "self_signing_key"):
            assert found[kind + "s"][anna.user_id]["keys"] == keys[kind]["keys"]
        assert anna.user_id not in found.get("user_signing_keys", {})


def test_a_room_s_policy_server_is_asked(sides: dict[str, Side], pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob)
    server = sides["parta"]
    key = ask(server.base_url, "GET", "/.well-known/matrix/policy_server")["public_keys"]
    bob.hears(room_id, anna.set_state(room_id, "m.room.policy", {"via": server.name, "public_keys": key}))
    before = count_requests(server, "/_matrix/policy/v1/sign")
    for one, other in ((anna, bob), (bob, anna)):
        other.hears(room_id, one.say(room_id, "recommended"))
    assert count_requests(server, "/_matrix/policy/v1/sign") > before


def count_requests(side: Side, path: str) -> float:
    """How many requests Parta has answered with success on a path."""
    lines = ask(side.base_url, "GET", "/metrics").decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if f'route="{path}"' in line and 'status="200"' in line)


def draw(size: tuple[int, int] = (300, 200)) -> bytes:
    """A picture."""
    drawn = BytesIO()
    Image.new("RGB", size, "navy").save(drawn, "PNG")
    return drawn.getvalue()


@pytest.mark.parametrize(
    ("name", "content_type", "content", "shown"),
    [
        ("a.txt", "text/plain", b"a file", "inline"),
        ("\u043a\u043b\u0430\u0441\u0441 5\u0411.csv", "text/csv", b"1,2\n" * 700_000, "inline"),
        ("a.html", "text/html", b"<script>", "attachment"),
        ("", "application/octet-stream", bytes(range(256)) * 300, "attachment"),
    ],
)
def test_files_are_fetched_from_the_other_side(
    pair: Pair, people: tuple[Person, Person], name: str, content_type: str, content: bytes, shown: str
) -> None:
    anna, bob = people
    path = "/_matrix/media/v3/upload" + (f"?filename={quote(name)}" if name else "")
    uri = anna.ask("POST", path, content, content_type)["content_uri"]
    for _ in range(2):  # as it comes, and as it is kept
        reply = bob.fetch(f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}")
        assert reply.content == content
        assert reply.headers["content-type"].partition(";")[0] == content_type
        assert reply.headers["content-disposition"].startswith(shown)
        assert quote(name, safe="") in quote(unquote(reply.headers["content-disposition"]), safe="")
    assert bob.denied("GET", f"/_matrix/client/v1/media/download/{pair.home.name}/nothing").status == 404


@pytest.mark.parametrize(("width", "height", "method"), [(32, 32, "crop"), (96, 96, "crop"), (320, 240, "scale")])
def test_thumbnails_are_made_of_pictures_of_the_other_side(
    people: tuple[Person, Person], width: int, height: int, method: str
) -> None:
    anna, bob = people
    place = anna.ask("POST", "/_matrix/media/v3/upload", draw((800, 600)), "image/png")["content_uri"].removeprefix(
        "mxc://"
    )
    wanted = f"width={width}&height={height}&method={method}"
    small = bob.ask("GET", f"/_matrix/client/v1/media/thumbnail/{place}?{wanted}")
    assert Image.open(BytesIO(small)).size == (width, height)


def test_rooms_are_found_by_alias_and_in_the_directory(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    localpart = anna.user_id[1:].partition(":")[0]
    room_id = anna.create("12", room_alias_name=localpart, visibility="public", name=f"Room of {localpart}")
    alias = f"#{localpart}:{pair.home.name}"
    found = bob.ask("GET", f"{V3}/directory/room/{quote(alias, safe='')}")
    assert (found["room_id"], pair.home.name in found["servers"]) == (room_id, True)
    search = {"filter": {"generic_search_term": localpart}}
    listed = bob.ask_until(
        lambda: bob.ask("POST", f"{V3}/publicRooms?server={pair.home.name}", search)["chunk"], lambda rooms: rooms
    )
    assert [room["room_id"] for room in listed] == [room_id]
    assert bob.join(alias, pair.home.name) == room_id
    with pytest.raises(Denied):
        bob.join(f"#nothing:{pair.home.name}", pair.home.name)


def test_people_knock(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = anna.create("12", preset="private_chat")
    anna.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    bob.ask("POST", f"{V3}/knock/{quote(room_id)}?via={pair.home.name}&server_name={pair.home.name}", {"reason": "me"})
    assert anna.sees(room_id, bob, "knock")["content"]["reason"] == "me"
    anna.move(room_id, "invite", bob)
    bob.is_invited(room_id)
    bob.join(room_id, pair.home.name)
    anna.sees(room_id, bob, "join")


@pytest.mark.parametrize("version", VERSIONS)
def test_who_is_in_one_room_may_enter_another(pair: Pair, people: tuple[Person, Person], version: str) -> None:
    anna, bob = people
    club = anna.create(version, preset="private_chat")
    inner = anna.create(version, preset="private_chat")
    allowed = [{"type": "m.room_membership", "room_id": club}]
    anna.set_state(inner, "m.room.join_rules", {"join_rule": "restricted", "allow": allowed})
    assert bob.denied("POST", f"{V3}/join/{quote(inner)}?via={pair.home.name}", {}).status == 403
    anna.move(club, "invite", bob)
    bob.is_invited(club)
    bob.join(club, pair.home.name)
    bob.join(inner, pair.home.name)
    content = anna.sees(inner, bob, "join")["content"]
    assert content["join_authorised_via_users_server"] == anna.user_id


def test_a_room_is_followed_where_it_is_upgraded(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    old = meet(pair, anna, bob, "10")
    new = anna.ask("POST", f"{anna.room(old)}/upgrade", {"new_version": "12"})["replacement_room"]
    tombstone = bob.until(
        lambda answer: next(
            (
                event["content"]
                for event in answer.get("rooms", {}).get("join", {}).get(old, {}).get("timeline", {}).get("events", ())
                if event["type"] == "m.room.tombstone"
            ),
            None,
        ),
        "the tombstone",
    )
    assert tombstone["replacement_room"] == new
    bob.join(new, pair.home.name)
    anna.hears(new, bob.say(new, "moved"))
