"""The first school day: who talks where, and who stands before closed doors."""

from urllib.parse import quote

from homeserver.schools.rights import Kind
from tests.kit.district import DistrictCase, rooms_of, try_to_send


class FirstSchoolDay(DistrictCase):
    """A day at the demonstration school."""

    async def test_the_teacher_writes_and_the_pupils_answer(self) -> None:
        room = await self.room(Kind.PUPILS, "9Б")
        teacher, maxim, darya = [await self.sign_in(login) for login in ("teacher1", "pupil3", "pupil4")]
        await teacher.send(room, "Доброе утро! Контрольная завтра.")
        await maxim.send(room, "А по какой теме?")
        await darya.send(room, "По дробям.")
        expected = ["По дробям.", "А по какой теме?", "Доброе утро! Контрольная завтра."]
        assert await teacher.texts(room) == await maxim.texts(room) == expected

    async def test_the_parents_talk_among_themselves(self) -> None:
        room = await self.room(Kind.PARENTS, "9Б")
        teacher, mother = await self.sign_in("teacher1"), await self.sign_in("parent3")
        await teacher.send(room, "Собрание в четверг")
        await mother.send(room, "Спасибо")
        assert await mother.texts(room) == ["Спасибо", "Собрание в четверг"]

    async def test_everybody_is_in_exactly_the_rooms_that_are_theirs(self) -> None:
        wide = {await self.room(Kind.SCHOOL), await self.room(Kind.CHANNEL)}
        staff = wide | {await self.room(Kind.STAFF)}
        fifth, ninth = [
            {kind: await self.room(kind, title) for kind in (Kind.CLASS, Kind.PUPILS, Kind.PARENTS)}
            for title in ("5А", "9Б")
        ]
        helped = {
            await self.room(Kind.HELP, owner=role.user_id)
            for role in (await self.school()).current_roles()
            if role.verified_ms is None
        }
        expected = {
            "admin1": staff | {fifth[Kind.CLASS], ninth[Kind.CLASS]} | helped,
            "teacher1": staff | set(fifth.values()) | set(ninth.values()),
            "teacher2": staff | set(fifth.values()),
            "pupil1": wide | {fifth[Kind.CLASS], fifth[Kind.PUPILS]},
            "pupil3": wide | {ninth[Kind.CLASS], ninth[Kind.PUPILS]},
            "parent1": wide | {fifth[Kind.CLASS], fifth[Kind.PARENTS]},
            "parent3": wide | {ninth[Kind.CLASS], ninth[Kind.PARENTS]},
            "newcomer": helped,
            "dismissed": set(),
        }
        found = {login: await rooms_of(await self.sign_in(login)) for login in expected}
        assert found == expected

    async def test_only_the_administrator_speaks_in_the_channel(self) -> None:
        room = await self.room(Kind.CHANNEL)
        admin, teacher, pupil = [await self.sign_in(login) for login in ("admin1", "teacher1", "pupil1")]
        event_id = await admin.send(room, "С началом учебного года!")
        assert await pupil.texts(room) == ["С началом учебного года!"]
        relation = {"event_id": event_id}
        for person in (teacher, pupil):
            attempts = [
                await try_to_send(person, room),
                await try_to_send(person, room, **{"m.relates_to": {**relation, "rel_type": "m.replace"}}),
                await try_to_send(person, room, **{"m.relates_to": {**relation, "rel_type": "m.thread"}}),
                await try_to_send(
                    person,
                    room,
                    kind="m.reaction",
                    **{"m.relates_to": {**relation, "rel_type": "m.annotation", "key": "👍"}},
                ),
                await try_to_send(person, room, kind="org.matrix.msc3381.poll.start"),
                await try_to_send(person, room, kind="org.matrix.msc3381.poll.response"),
                await try_to_send(person, room, kind="m.room.encrypted"),
                await try_to_send(person, room, kind="m.room.redaction", redacts=event_id),
                await person.call("PUT", f"/rooms/{room}/redact/{quote(event_id, safe='')}/r1", {}),
                await person.call("PUT", f"/rooms/{room}/typing/{person.user_id}", {"typing": True}),
            ]
            assert {reply.status for reply in attempts[:-1]} == {403}
        assert await pupil.texts(room) == ["С началом учебного года!"]

    async def test_strangers_stand_before_the_same_closed_door_everywhere(self) -> None:
        room = await self.room(Kind.PUPILS, "9Б")
        teacher = await self.sign_in("teacher1")
        event_id = await teacher.send(room, "только для своих")
        nowhere = "!" + "x" * 43
        for login in ("newcomer", "dismissed", "pupil1", "parent3", "teacher2"):
            stranger = await self.sign_in(login)
            for method, path, body in doors(stranger.user_id, event_id):
                inside = await stranger.call(method, path.format(room=room), body)
                outside = await stranger.call(method, path.format(room=nowhere), body)
                assert inside.status in {403, 404}, (login, method, path, inside.body)
                assert (inside.status, inside.body) == (outside.status, outside.body), (login, method, path)
        assert await teacher.texts(room) == ["только для своих"]

    async def test_people_who_do_not_know_each_other_are_not_there_for_each_other(self) -> None:
        nobody = "@nobody:north.example"
        strangers = {
            "newcomer": ("teacher1", "pupil1", "admin1"),
            "dismissed": ("teacher1", "pupil3", "parent3"),
            "pupil1": ("pupil3", "parent3", "parent2", "newcomer", "dismissed"),
            "parent1": ("pupil2", "pupil3", "newcomer"),
            "teacher2": ("pupil3", "newcomer", "dismissed"),
        }
        for login, others in strangers.items():
            stranger = await self.sign_in(login)
            for method, path, body in person_doors():
                absent = await stranger.call(method, path.format(person=nobody), fill(body, nobody))
                for other in others:
                    user_id = f"@{other}:north.example"
                    found = await stranger.call(method, path.format(person=user_id), fill(body, user_id))
                    assert (found.status, found.body) == (absent.status, absent.body), (login, other, path, found.body)

    async def test_nobody_finds_out_who_has_an_account(self) -> None:
        answers = set()
        for login in ("teacher1", "nobody"):
            reply = await self.call("GET", f"/_matrix/client/v3/register/available?username={login}")
            answers.add((reply.status, reply.body))
            identifier = {"type": "m.id.user", "user": login}
            wanted = {"type": "m.login.password", "identifier": identifier, "password": "wrong password"}
            reply = await self.call("POST", "/_matrix/client/v3/login", wanted)
            answers.add((reply.status, reply.body))
            reply = await self.call("GET", f"/_matrix/client/v3/profile/@{login}:north.example")
            answers.add((reply.status, reply.body))
        assert len(answers) == 3

    async def test_a_profile_is_seen_by_colleagues_and_classmates(self) -> None:
        for login, other, name in (
            ("pupil3", "pupil4", "Крылова Дарья"),
            ("teacher1", "parent1", "Лапина Ольга Николаевна"),
            ("parent1", "pupil1", "Лапин Артём"),
            ("newcomer", "newcomer", "Зимин Олег Павлович"),
        ):
            person = await self.sign_in(login)
            shown = await person.ok("GET", f"/profile/@{other}:north.example")
            assert shown["displayname"] == name

    async def test_nobody_changes_powers_names_or_members_by_hand(self) -> None:
        room = await self.room(Kind.PUPILS, "9Б")
        for login in ("teacher1", "pupil3"):
            person = await self.sign_in(login)
            for event_type, content in POWERS_BY_HAND.items():
                reply = await person.call("PUT", f"/rooms/{room}/state/{event_type}/", content)
                assert reply.status == 403, (login, event_type, reply.body)
            for other in ("@pupil1:north.example", "@pupil4:north.example"):
                for membership in ("invite", "leave", "ban"):
                    reply = await person.call(
                        "PUT", f"/rooms/{room}/state/m.room.member/{other}", {"membership": membership}
                    )
                    assert reply.status == 403, (login, other, membership, reply.body)
            mine = f"/rooms/{room}/state/m.room.member/{person.user_id}"
            reply = await person.call("PUT", mine, {"membership": "join", "displayname": "Директор"})
            assert reply.status == 403
            for verb in ("leave", "upgrade"):
                reply = await person.call(
                    "POST", f"/rooms/{room}/{verb}", {"new_version": "12"} if verb[0] == "u" else {}
                )
                assert reply.status in {403, 404}, (verb, reply.body)
            reply = await person.call("PUT", f"/profile/{person.user_id}/displayname", {"displayname": "Директор"})
            assert reply.status == 403

    async def test_a_teacher_sets_the_topic_and_pins(self) -> None:
        room = await self.room(Kind.PUPILS, "9Б")
        teacher, pupil = await self.sign_in("teacher1"), await self.sign_in("pupil3")
        for event_type, content in (
            ("m.room.topic", {"topic": "Алгебра"}),
            ("m.room.pinned_events", {"pinned": []}),
        ):
            assert (await pupil.call("PUT", f"/rooms/{room}/state/{event_type}/", content)).status == 403
            assert (await teacher.call("PUT", f"/rooms/{room}/state/{event_type}/", content)).status == 200


POWERS_BY_HAND = {
    "m.room.power_levels": {"users": {"@pupil3:north.example": 100}},
    "m.room.join_rules": {"join_rule": "public"},
    "m.room.history_visibility": {"history_visibility": "world_readable"},
    "m.room.guest_access": {"guest_access": "can_join"},
    "m.room.canonical_alias": {"alias": "#x:north.example"},
    "m.room.server_acl": {"allow": ["*"]},
    "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
    "m.room.tombstone": {"body": "x", "replacement_room": "!x"},
    "m.room.create": {},
    "m.room.third_party_invite": {"display_name": "x"},
    "m.space.child": {"via": ["north.example"]},
    "m.space.parent": {"via": ["north.example"]},
    "m.room.policy": {"via": "south.example"},
    "m.room.name": {"name": "x"},
    "org.example.anything": {},
}


def doors(user_id: str, event_id: str) -> list[tuple[str, str, object]]:
    """Every way to a room by its ID."""
    event, mine = quote(event_id, safe=""), quote(user_id)
    return [
        ("POST", "/join/{room}", {}),
        ("POST", "/rooms/{room}/join", {}),
        ("POST", "/knock/{room}", {}),
        ("POST", "/rooms/{room}/leave", {}),
        ("POST", "/rooms/{room}/forget", {}),
        ("POST", "/rooms/{room}/invite", {"user_id": "@pupil2:north.example"}),
        ("POST", "/rooms/{room}/kick", {"user_id": "@pupil3:north.example"}),
        ("POST", "/rooms/{room}/ban", {"user_id": "@pupil3:north.example"}),
        ("POST", "/rooms/{room}/unban", {"user_id": "@pupil3:north.example"}),
        ("PUT", "/rooms/{room}/send/m.room.message/s1", {"msgtype": "m.text", "body": "hi"}),
        ("PUT", "/rooms/{room}/send/m.room.redaction/s2", {"redacts": event_id}),
        ("PUT", f"/rooms/{{room}}/redact/{event}/s3", {}),
        ("PUT", "/rooms/{room}/state/m.room.topic/", {"topic": "x"}),
        ("PUT", f"/rooms/{{room}}/state/m.room.member/{mine}", {"membership": "join"}),
        ("PUT", f"/rooms/{{room}}/state/m.room.member/{mine}", {"membership": "knock"}),
        ("PUT", f"/rooms/{{room}}/state/m.room.member/{mine}", {"membership": "leave"}),
        ("PUT", "/rooms/{room}/state/m.room.member/@pupil2:north.example", {"membership": "invite"}),
        ("GET", "/rooms/{room}/state", None),
        ("GET", "/rooms/{room}/state/m.room.name/", None),
        ("GET", "/rooms/{room}/members", None),
        ("GET", "/rooms/{room}/joined_members", None),
        ("GET", "/rooms/{room}/messages?dir=b", None),
        ("GET", f"/rooms/{{room}}/event/{event}", None),
        ("GET", f"/rooms/{{room}}/context/{event}", None),
        ("GET", "/rooms/{room}/aliases", None),
        ("GET", "/_matrix/client/v1/rooms/{room}/hierarchy", None),
        ("GET", "/_matrix/client/v1/room_summary/{room}", None),
        ("GET", "/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts=1&dir=f", None),
        ("GET", f"/_matrix/client/v1/rooms/{{room}}/relations/{event}", None),
        ("GET", "/_matrix/client/v1/rooms/{room}/threads", None),
        ("GET", "/rooms/{room}/initialSync", None),
        ("POST", "/rooms/{room}/report", {"reason": "x"}),
        ("POST", f"/rooms/{{room}}/report/{event}", {"reason": "x"}),
        ("POST", "/rooms/{room}/upgrade", {"new_version": "12"}),
        ("POST", f"/rooms/{{room}}/receipt/m.read/{event}", {}),
        ("POST", "/rooms/{room}/read_markers", {"m.read": event_id}),
        ("PUT", f"/rooms/{{room}}/typing/{mine}", {"typing": True}),
        ("GET", "/directory/list/room/{room}", None),
        ("PUT", "/directory/list/room/{room}", {"visibility": "public"}),
        ("PUT", "/directory/room/%23our:north.example", {"room_id": "{room}"}),
    ]


def person_doors() -> list[tuple[str, str, object]]:
    """Every way to a person by their ID."""
    return [
        ("GET", "/profile/{person}", None),
        ("GET", "/profile/{person}/displayname", None),
        ("GET", "/profile/{person}/avatar_url", None),
        ("GET", "/_matrix/client/v1/mutual_rooms?user_id={person}", None),
        ("GET", "/presence/{person}/status", None),
        ("POST", "/users/{person}/report", {"reason": "x"}),
        ("GET", "/admin/whois/{person}", None),
        ("PUT", "/sendToDevice/m.x/t1", {"messages": {"{person}": {"*": {}}}}),
        ("POST", "/createRoom", {"invite": ["{person}"], "is_direct": True}),
        ("POST", "/keys/query", {"device_keys": {"{person}": []}}),
        ("POST", "/keys/claim", {"one_time_keys": {"{person}": {"D": "signed_curve25519"}}}),
    ]


def fill(body: object, person: str) -> object:
    """The body with that person in it."""
    if isinstance(body, dict):
        return {key.format(person=person): fill(value, person) for key, value in body.items()}
    if isinstance(body, list):
        return [fill(value, person) for value in body]
    return body.format(person=person) if isinstance(body, str) else body
