"""The gate at every door, with real facts: who passes, who is told why not, and for whom there is no door at all."""

import inspect
from collections.abc import Iterator
from dataclasses import fields

import pytest
from twisted.trial.unittest import TestCase

from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID, MxcURI, RoomAlias, RoomID, ServerName, UserID
from homeserver import policy
from homeserver.policy import Act, Hidden, OpenPolicy, RoomAct, allows
from homeserver.rooms.room import Room
from homeserver.rooms.seal import Draft
from homeserver.schools.direct import DirectRooms
from homeserver.schools.gate import NotAllowed
from homeserver.schools.organisations import Application
from homeserver.schools.rights import Kind
from homeserver.storage.database import Database
from homeserver.storage.schools.organisations import find_organisation, set_organisation
from tests.kit.databases import give_sqlite
from tests.kit.schools import REGION, SERVER, Story, found_school, open_region

MXC = MxcURI(f"mxc://{SERVER}/abc")


def act_types() -> Iterator[type[Act]]:
    """Every act there is."""
    for _, kind in inspect.getmembers(policy, inspect.isclass):
        if issubclass(kind, Act) and kind not in {Act, RoomAct}:
            yield kind


async def shares_none() -> bool:
    """A server that is in no room with anybody of ours."""
    return False


async def shares_one() -> bool:
    """A server that is in a room with whom it asks about."""
    return True


def build_act(kind: type[Act], by: UserID | None, room: Room) -> Act:
    """Some act of that type."""
    values = {
        "by": by,
        "room": room,
        "person": UserID(f"@nobody:{SERVER}"),
        "how": "kick",
        "type": "m.room.message",
        "state_key": "",
        "content": {},
        "event_id": EventID("$x"),
        "target": None,
        "version": "12",
        "published": True,
        "alias": RoomAlias(f"#x:{SERVER}"),
        "field": "displayname",
        "value": "x",
        "mxc": MXC,
        "uploader": None,
        "content_type": "image/png",
        "size": 1,
        "address": "https://page.example/",
        "listed": True,
        "deed": "log_in_as",
        "server": ServerName("south.example"),
        "about": "profile",
        "shares_room": shares_none,
    }
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})


class Gates(TestCase):
    """A school with somebody of every kind in it."""

    db: Database

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        give_sqlite(self)
        self.region = await open_region(self.db)
        self.story = story = await found_school(self.region)
        self.boss = story.boss.user_id
        self.teacher = await story.take_in("teacher", class_title="9Б")
        self.other_teacher = await story.take_in("teacher", class_title="5А")
        self.pupil = await story.take_in("pupil", class_title="9Б")
        self.classmate = await story.take_in("pupil", class_title="9Б")
        self.other_pupil = await story.take_in("pupil", class_title="5А")
        self.parent = await story.take_in("parent", child=self.pupil)
        self.other_parent = await story.take_in("parent", child=self.other_pupil)
        self.waiting = await story.take_in("teacher", class_title="9Б", verified=False)
        self.dismissed = await story.take_in("teacher", class_title="9Б")
        await story.office.dismiss(story.boss, story.org_id, self.dismissed)
        self.strangers = (self.waiting, self.dismissed, UserID(f"@x:{SERVER}"), UserID("@teacher:south.example"))

    async def verdict(self, act: Act) -> str:
        """Whether the act passes, is refused with a reason, or there is nothing."""
        try:
            await self.region.gate.check(act)
        except Hidden:
            return "hidden"
        except NotAllowed:
            return "told"
        return "passes"

    async def test_who_has_not_signed_in_passes_nowhere(self) -> None:
        room = await self.story.room(Kind.CHANNEL)
        for kind in act_types():
            assert await self.verdict(build_act(kind, None, room)) == "hidden", kind

    async def test_strangers_pass_nowhere_but_to_their_own_login(self) -> None:
        for stranger in self.strangers:
            for kind in (Kind.SCHOOL, Kind.CHANNEL, Kind.STAFF):
                room = await self.story.room(kind)
                for act in act_types():
                    verdict = await self.verdict(build_act(act, stranger, room))
                    expected = {policy.LogIn: "passes", policy.CloseAccount: "told", policy.Administer: "told"}.get(
                        act, "hidden"
                    )
                    if act is policy.SetProfile:  # asked for somebody else here
                        expected = "hidden"
                    assert verdict == expected, (stranger, act)

    async def test_another_server_is_told_of_those_in_a_room_with_it_and_of_nobody_else(self) -> None:
        server = ServerName("south.example")
        told: tuple[tuple[policy.About, str], ...] = (
            ("profile", "passes"),
            ("room", "passes"),
            ("media", "passes"),
            ("devices", "hidden"),
        )
        for about, expected in told:
            near = policy.TellServer(by=None, server=server, about=about, shares_room=shares_one)
            far = policy.TellServer(by=None, server=server, about=about, shares_room=shares_none)
            assert (await self.verdict(near), await self.verdict(far)) == (expected, "hidden")

    async def test_nobody_has_other_servers_asked_about_their_rooms(self) -> None:
        for person in (self.boss, self.teacher, self.pupil, self.parent, *self.strangers):
            assert await self.verdict(policy.LookElsewhere(by=person, server=ServerName("south.example"))) == "hidden"

    async def test_nobody_is_told_whether_a_room_is_not_there_or_not_for_them(self) -> None:
        for person in (self.boss, self.teacher, self.pupil, self.parent, *self.strangers):
            assert await self.verdict(policy.LearnAbsence(by=person)) == "hidden"

    async def test_nobody_signs_in_as_the_service_account(self) -> None:
        service = self.region.desk.world.service
        assert await self.verdict(policy.LogIn(by=service)) == "hidden"
        room = await self.story.room(Kind.PUPILS, "9Б")
        assert await self.verdict(policy.SendEvent(by=service, room=room, type="x", content={})) == "passes"

    async def test_each_room_is_hidden_from_all_who_do_not_belong(self) -> None:
        everybody = {
            self.boss,
            self.teacher,
            self.other_teacher,
            self.pupil,
            self.classmate,
            self.other_pupil,
            self.parent,
            self.other_parent,
            *self.strangers,
        }
        ninth = {self.boss, self.teacher, self.pupil, self.classmate, self.parent}
        belong = {
            (Kind.SCHOOL, ""): everybody - {*self.strangers},
            (Kind.CHANNEL, ""): everybody - {*self.strangers},
            (Kind.STAFF, ""): {self.boss, self.teacher, self.other_teacher},
            (Kind.CLASS, "9Б"): ninth,
            (Kind.PUPILS, "9Б"): ninth - {self.parent},
            (Kind.PARENTS, "9Б"): ninth - {self.pupil, self.classmate},
        }
        for (kind, title), insiders in belong.items():
            room = await self.story.room(kind, title)
            for person in everybody:
                for act in (policy.Join, policy.SeeRoom):
                    verdict = await self.verdict(act(by=person, room=room))
                    assert verdict == ("passes" if person in insiders else "hidden"), (kind, title, person)

    async def test_insiders_are_told_why_they_may_not_change_who_is_in_a_room(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        for person in (self.boss, self.teacher, self.pupil):
            for kind in (
                policy.Invite,
                policy.Expel,
                policy.Knock,
                policy.UpgradeRoom,
                policy.PublishRoom,
                policy.SetAlias,
            ):
                assert await self.verdict(build_act(kind, person, room)) == "told", (person, kind)

    async def test_only_who_may_stay_away_may_leave(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        assert await self.verdict(policy.Leave(by=self.boss, room=room)) == "passes"
        for person in (self.teacher, self.pupil):
            assert await self.verdict(policy.Leave(by=person, room=room)) == "told"
        for person in self.strangers:
            assert await self.verdict(policy.Leave(by=person, room=room)) == "hidden"

    async def test_who_is_in_a_room_without_right_may_leave_it_and_nothing_else(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        stranger = UserID(f"@x:{SERVER}")
        content = {"membership": "join", "join_authorised_via_users_server": self.region.desk.world.service}
        join = Draft(type="m.room.member", sender=stranger, state_key=stranger, content=content)
        await self.region.rooms.commit([(room, [join])])
        assert await self.verdict(policy.Leave(by=stranger, room=room)) == "passes"
        message = policy.SendEvent(by=stranger, room=room, type="m.room.message", content={})
        assert await self.verdict(message) == "hidden"

    async def test_messages_of_every_kind_need_the_right_to_post(self) -> None:
        channel, pupils = await self.story.room(Kind.CHANNEL), await self.story.room(Kind.PUPILS, "9Б")
        space = await self.story.room(Kind.CLASS, "9Б")
        for event_type in ("m.room.message", "m.reaction", "org.matrix.msc3381.poll.start", "m.sticker", "org.x"):
            for person, room, expected in (
                (self.boss, channel, "passes"),
                (self.teacher, channel, "told"),
                (self.pupil, channel, "told"),
                (self.pupil, pupils, "passes"),
                (self.parent, pupils, "hidden"),
                (self.teacher, space, "told"),
                (self.boss, space, "told"),
            ):
                act = policy.SendEvent(by=person, room=room, type=event_type, content={})
                assert await self.verdict(act) == expected, (person, event_type)

    async def test_a_poll_in_the_channel_is_answered_by_all_and_nothing_else_is_said(self) -> None:
        channel, pupils = await self.story.room(Kind.CHANNEL), await self.story.room(Kind.PUPILS, "9Б")
        kind = "org.matrix.msc3381.poll"
        options = [{"id": name, "org.matrix.msc1767.text": name} for name in ("yes", "no")]
        block = {"max_selections": 1, "answers": options, "question": {"org.matrix.msc1767.text": "Well?"}}
        draft = Draft(type=f"{kind}.start", sender=self.boss, content={f"{kind}.start": block})
        poll = (await self.region.rooms.append(channel, draft)).event

        def answer(person: UserID, *chosen: object, room: Room = channel, **more: object) -> policy.SendEvent:
            relation = {"rel_type": "m.reference", "event_id": poll.event_id}
            content = {"m.relates_to": relation, f"{kind}.response": {"answers": list(chosen)}, **more}
            return policy.SendEvent(by=person, room=room, type=f"{kind}.response", content=content, poll=poll)

        for person in (self.pupil, self.parent, self.teacher, self.boss):
            assert await self.verdict(answer(person, "yes")) == "passes"
        assert await self.verdict(answer(self.pupil)) == "passes"
        assert await self.verdict(answer(self.dismissed, "yes")) == "hidden"
        assert await self.verdict(answer(self.parent, "yes", room=pupils)) == "hidden"
        unknown = policy.SendEvent(
            by=self.pupil, room=channel, type=f"{kind}.response", content=answer(self.pupil).content
        )
        said = policy.SendEvent(
            by=self.pupil, room=channel, type="m.room.message", content=answer(self.pupil).content, poll=poll
        )
        for act in (
            answer(self.pupil, "meet me there"),
            answer(self.pupil, "yes", "no"),
            answer(self.pupil, 1),
            answer(self.pupil, "yes", body="words"),
            unknown,
            said,
        ):
            assert await self.verdict(act) == "told", act

    async def test_an_editor_posts_in_the_channel(self) -> None:
        editor = await self.story.take_in("editor")
        channel = await self.story.room(Kind.CHANNEL)
        message = policy.SendEvent(by=editor, room=channel, type="m.room.message", content={})
        assert await self.verdict(message) == "passes"

    async def test_secrets_from_the_school_are_not_sent_where_it_must_read(self) -> None:
        for kind, title, expected in (
            (Kind.PUPILS, "9Б", "told"),
            (Kind.PARENTS, "9Б", "told"),
            (Kind.STAFF, "", "passes"),
        ):
            room = await self.story.room(kind, title)
            act = policy.SendEvent(by=self.teacher, room=room, type="m.room.encrypted", content={})
            assert await self.verdict(act) == expected
            state = policy.SetState(by=self.boss, room=room, type="m.room.encryption", state_key="", content={})
            assert await self.verdict(state) == expected

    async def test_events_that_only_the_server_writes_are_not_sent(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        for event_type in ("m.room.redaction", "org.parta.lesson"):
            act = policy.SendEvent(by=self.teacher, room=room, type=event_type, content={})
            assert await self.verdict(act) == "told"

    async def test_state_is_set_by_teachers_where_the_table_says_so(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        for event_type, state_key, expected in (
            ("m.room.topic", "", "passes"),
            ("m.room.pinned_events", "", "passes"),
            ("m.room.topic", "second", "told"),
            ("m.room.name", "", "told"),
            ("m.room.power_levels", "", "told"),
            ("m.room.member", self.pupil, "told"),
        ):
            act = policy.SetState(by=self.teacher, room=room, type=event_type, state_key=state_key, content={})
            assert await self.verdict(act) == expected, event_type
            act = policy.SetState(by=self.pupil, room=room, type=event_type, state_key=state_key, content={})
            assert await self.verdict(act) == "told"

    async def say(self, room: Room, sender: UserID) -> Event:
        return (await self.region.rooms.append(room, Draft(type="m.room.message", sender=sender, content={}))).event

    async def test_one_redacts_ones_own_and_a_teacher_the_pupils(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        own, theirs = await self.say(room, self.pupil), await self.say(room, self.teacher)
        name = room.state("m.room.name")
        for person, target, expected in (
            (self.pupil, own, "passes"),
            (self.pupil, theirs, "told"),
            (self.classmate, own, "told"),
            (self.teacher, own, "passes"),
            (self.boss, own, "passes"),
            (self.teacher, name, "told"),
            (self.teacher, room.state("m.room.power_levels"), "told"),
            (self.pupil, None, "told"),
            (self.parent, own, "hidden"),
        ):
            event_id = target.event_id if target else EventID("$x")
            act = policy.Redact(by=person, room=room, event_id=event_id, target=target)
            assert await self.verdict(act) == expected, (person, target)

    async def test_a_pupil_does_not_redact_their_own_membership(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        member = room.state("m.room.member", self.pupil)
        assert member is not None
        act = policy.Redact(by=self.pupil, room=room, event_id=member.event_id, target=member)
        assert await self.verdict(act) == "told"

    async def test_who_may_not_write_does_not_type_but_reads(self) -> None:
        channel = await self.story.room(Kind.CHANNEL)
        for kind, expected in (("m.typing", "told"), ("m.receipt", "passes"), ("m.fully_read", "passes")):
            assert await self.verdict(policy.Ephemeral(by=self.pupil, room=channel, type=kind)) == expected

    async def test_people_are_there_for_those_the_matrix_names(self) -> None:
        colleagues = {policy.FindPerson, policy.SeeProfile, policy.SeePresence, policy.QueryKeys}
        look = {policy.FindPerson, policy.SeeProfile, policy.SeePresence}
        expected = {
            (self.teacher, self.other_teacher): colleagues,
            (self.teacher, self.pupil): look,
            (self.pupil, self.teacher): look,
            (self.pupil, self.classmate): look,
            (self.pupil, self.boss): {policy.SeeProfile},
            (self.parent, self.pupil): look,
            (self.parent, self.teacher): colleagues,
            (self.parent, self.other_parent): {policy.SeeProfile, policy.QueryKeys},
            (self.teacher, self.other_pupil): set(),
            (self.parent, self.classmate): set(),
            (self.pupil, self.other_pupil): set(),
            (self.pupil, self.other_teacher): set(),
            (self.teacher, self.waiting): set(),
            (self.teacher, self.dismissed): set(),
            (self.waiting, self.teacher): set(),
            (self.dismissed, self.teacher): set(),
            (self.waiting, self.waiting): colleagues,
        }
        for (one, other), allowed in expected.items():
            for act in colleagues:
                passes = await allows(self.region.gate, act(by=one, person=other))
                assert passes == (act in allowed), (one, other, act)
            to_device = policy.SendToDevice(by=one, person=other, type="m.room.encrypted")
            assert await allows(self.region.gate, to_device) == (policy.QueryKeys in allowed)

    async def test_names_are_the_schools_and_pictures_the_staffs(self) -> None:
        for person, field, expected in (
            (self.teacher, "avatar_url", "passes"),
            (self.pupil, "avatar_url", "told"),
            (self.parent, "avatar_url", "told"),
            (self.teacher, "displayname", "told"),
            (self.teacher, "org.parta.verified", "told"),
            (self.waiting, "avatar_url", "told"),
        ):
            act = policy.SetProfile(by=person, person=person, field=field, value="x")
            assert await self.verdict(act) == expected
            act = policy.SetProfile(by=person, person=self.boss, field=field, value="x")
            assert await self.verdict(act) == "hidden"

    async def test_media_are_for_those_in_a_room_that_holds_them(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        for person, uploader, rooms, avatar_of, expected in (
            (self.pupil, None, [room.room_id], [], True),
            (self.parent, None, [room.room_id], [], False),
            (self.other_pupil, None, [room.room_id], [], False),
            (self.pupil, self.pupil, [], [], True),
            (self.pupil, self.teacher, [], [], False),
            (self.dismissed, self.dismissed, [], [], False),
            (self.dismissed, None, [room.room_id], [], False),
            (self.pupil, None, [], [self.teacher], True),
            (self.other_pupil, None, [], [self.teacher], False),
            (self.pupil, None, [RoomID("!nowhere")], [], False),
        ):
            act = policy.SeeMedia(by=person, mxc=MXC, uploader=uploader, rooms=rooms, avatar_of=avatar_of)
            assert await allows(self.region.gate, act) == expected, (person, uploader)

    async def test_only_who_belongs_uploads_and_shows_presence(self) -> None:
        for person, expected in ((self.pupil, True), (self.waiting, False), (self.dismissed, False)):
            upload = policy.UploadMedia(by=person, content_type="image/png", size=1)
            assert await allows(self.region.gate, upload) == expected
            assert await allows(self.region.gate, policy.SetPresence(by=person)) == expected

    async def test_the_help_room_is_for_who_waits_and_the_administrators(self) -> None:
        room = await self.story.room(Kind.HELP, owner=self.waiting)
        for person, expected in ((self.waiting, "passes"), (self.boss, "passes"), (self.teacher, "hidden")):
            act = policy.SendEvent(by=person, room=room, type="m.room.message", content={})
            assert await self.verdict(act) == expected

    # direct rooms

    def direct(self, by: UserID, *invite: UserID, **more: object) -> policy.CreateRoom:
        return policy.CreateRoom(by=by, invite=invite, is_direct=True, **more)

    async def test_people_begin_direct_rooms_with_those_they_may_write_to(self) -> None:
        for one, other, expected in (
            (self.teacher, self.other_teacher, "passes"),
            (self.teacher, self.parent, "passes"),
            (self.parent, self.teacher, "passes"),
            (self.parent, self.other_parent, "passes"),
            (self.parent, self.pupil, "passes"),
            (self.teacher, self.pupil, "passes"),
            (self.teacher, self.other_pupil, "hidden"),
            (self.parent, self.classmate, "hidden"),
            (self.pupil, self.classmate, "hidden"),
            (self.pupil, self.teacher, "hidden"),
            (self.pupil, self.parent, "hidden"),
            (self.boss, self.pupil, "hidden"),
            (self.waiting, self.teacher, "hidden"),
            (self.dismissed, self.teacher, "hidden"),
            (self.teacher, self.waiting, "hidden"),
            (self.teacher, UserID("@x:south.example"), "hidden"),
        ):
            assert await self.verdict(self.direct(one, other)) == expected, (one, other)

    async def test_what_clients_ask_for_where_two_are_to_talk_is_no_reason_to_refuse(self) -> None:
        guests = ("m.room.guest_access", "", {"guest_access": "can_join"})
        encryption = ("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"})
        for asked, with_parent, with_pupil in (
            ([guests], "passes", "passes"),
            ([guests, encryption], "passes", "told"),
        ):
            asked_for = {"preset": "trusted_private_chat", "initial_state": asked}
            assert await self.verdict(self.direct(self.teacher, self.parent, **asked_for)) == with_parent
            assert await self.verdict(self.direct(self.teacher, self.pupil, **asked_for)) == with_pupil

    async def test_people_create_no_other_rooms(self) -> None:
        for spoiled in (
            {"preset": "public_chat"},
            {"published": True},
            {"invite_3pid": 1},
            {"creation_content": {"additional_creators": [self.other_teacher]}},
            {"creation_content": {"type": "m.space"}},
            {"creation_content": {"m.federate": True}},
            {"power_levels": {"users": {self.other_teacher: 100}}},
            {"alias": "#x:north.example"},
            {"name": "Секреты"},
            {"topic": "x"},
            {"version": "11"},
            {"initial_state": [("m.room.join_rules", "", {"join_rule": "public"})]},
            {"initial_state": [("m.room.history_visibility", "", {"history_visibility": "world_readable"})]},
            {"initial_state": [("m.room.encryption", "x", {})]},
            {"initial_state": [("m.room.guest_access", "x", {})]},
        ):
            act = self.direct(self.teacher, self.other_teacher, **spoiled)
            assert await self.verdict(act) == "told", spoiled
        for people in ((), (self.teacher,), (self.other_teacher, self.parent)):
            assert await self.verdict(self.direct(self.teacher, *people)) == "told"
        harmless = {"preset": "private_chat", "version": "12", "creation_content": {"m.federate": False}}
        assert await self.verdict(self.direct(self.teacher, self.other_teacher, **harmless)) == "passes"

    async def test_adults_may_ask_for_encryption_and_rooms_with_a_pupil_are_without(self) -> None:
        state = [("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"})]
        assert await self.verdict(self.direct(self.teacher, self.parent, initial_state=state)) == "passes"
        assert await self.verdict(self.direct(self.teacher, self.pupil, initial_state=state)) == "told"
        assert await self.verdict(self.direct(self.parent, self.pupil, initial_state=state)) == "told"

    async def begin(self, act: policy.CreateRoom) -> Room:
        await self.region.gate.check(act)
        return await DirectRooms(self.region.rooms, self.region.facts, self.region.desk).begin(act)

    async def test_a_direct_room_is_the_schools_with_the_two_in_it(self) -> None:
        state = [("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"})]
        room = await self.begin(self.direct(self.teacher, self.parent, initial_state=state))
        assert room.create.sender == self.region.desk.world.service
        assert room.state("m.room.encryption") is not None
        assert {user for user in room.joined_members} == {room.create.sender, self.teacher, self.parent}
        again = await self.begin(self.direct(self.parent, self.teacher))
        assert again.room_id == room.room_id
        for person in (self.teacher, self.parent):
            message = policy.SendEvent(by=person, room=room, type="m.room.message", content={})
            assert await self.verdict(message) == "passes"
            assert await self.verdict(policy.Invite(by=person, room=room, person=self.boss)) == "told"
        assert await self.verdict(policy.Join(by=self.boss, room=room)) == "hidden"

    async def test_a_teacher_and_a_pupil_have_a_supervisor_who_alone_redacts(self) -> None:
        room = await self.begin(self.direct(self.teacher, self.pupil))
        assert set(room.joined_members) == {room.create.sender, self.teacher, self.pupil, self.boss}
        message = await self.say(room, self.teacher)
        for person, expected in ((self.teacher, "told"), (self.pupil, "told"), (self.boss, "passes")):
            redaction = policy.Redact(by=person, room=room, event_id=message.event_id, target=message)
            assert await self.verdict(redaction) == expected
            assert await self.verdict(policy.Leave(by=person, room=room)) == "told"

    async def test_the_supervisor_is_replaced_when_gone(self) -> None:
        room = await self.begin(self.direct(self.teacher, self.pupil))
        second = await self.story.take_in("teacher")
        from tests.kit.schools import document

        await self.story.office.appoint(REGION, self.story.org_id, second, document(77))
        await self.story.office.dismiss(REGION, self.story.org_id, self.boss)
        assert set(room.joined_members) == {room.create.sender, self.teacher, self.pupil, second}

    async def test_a_direct_room_ends_when_the_two_may_no_longer_write(self) -> None:
        room = await self.begin(self.direct(self.teacher, self.pupil))
        fifth = await self.story.class_id("5А")
        await self.story.office.move(self.story.boss, self.story.org_id, self.pupil, fifth)
        assert set(room.joined_members) == {room.create.sender}
        for person in (self.teacher, self.pupil, self.boss):
            message = policy.SendEvent(by=person, room=room, type="m.room.message", content={})
            assert await self.verdict(message) == "hidden"

    async def test_who_left_a_direct_room_of_adults_stays_away_until_they_ask(self) -> None:
        room = await self.begin(self.direct(self.teacher, self.other_teacher))
        leave = Draft(
            type="m.room.member", sender=self.teacher, state_key=self.teacher, content={"membership": "leave"}
        )
        await self.region.rooms.commit([(room, [leave])])
        await self.region.desk.settle(self.story.org_id)
        assert room.membership(self.teacher) == "leave"
        again = await self.begin(self.direct(self.teacher, self.other_teacher))
        assert again.room_id == room.room_id
        assert again.membership(self.teacher) == "join"

    async def test_pupils_write_to_each_other_where_the_organisation_says_so(self) -> None:
        org = await self.db.read(find_organisation, self.story.org_id)
        assert org is not None
        from msgspec.structs import replace

        await self.db.write(set_organisation, replace(org, pupil_chats_from=8))
        again = await open_region(self.db)
        assert await allows(again.gate, self.direct(self.pupil, self.classmate))
        assert not await allows(again.gate, self.direct(self.pupil, self.other_pupil))

    # facts

    async def test_a_verification_ends_by_itself(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        act = policy.SendEvent(by=self.pupil, room=room, type="m.room.message", content={})
        assert await self.verdict(act) == "passes"
        self.region.clock.now_ms += 365 * 24 * 3600 * 1000
        assert await self.verdict(act) == "hidden"

    async def test_the_second_time_nothing_is_read(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        act = policy.SendEvent(by=self.pupil, room=room, type="m.room.message", content={})
        await self.region.gate.check(act)
        step = self.region.gate.check(act)
        with pytest.raises(StopIteration):
            step.send(None)

    async def test_two_schools_do_not_see_each_other(self) -> None:
        other: Story = await found_school(self.region, "Школа № 2")
        room = await other.room(Kind.STAFF)
        for person in (self.boss, self.teacher, self.pupil):
            for kind in act_types():
                if issubclass(kind, RoomAct):
                    assert await self.verdict(build_act(kind, person, room)) == "hidden"
            assert await self.verdict(policy.SeeProfile(by=person, person=other.boss.user_id)) == "hidden"

    async def test_an_organisation_without_grades_works_alike(self) -> None:
        application = Application(name="Школа искусств", short_name="ДШИ", kind="arts")
        school = await self.region.office.found(REGION, application)
        story = Story(self.region, school.org.org_id)
        await self.region.office.open_class(REGION, story.org_id, "Акварель")
        pupil = await story.take_in("pupil", class_title="Акварель")
        room = await story.room(Kind.PUPILS, "Акварель")
        message = policy.SendEvent(by=pupil, room=room, type="m.room.message", content={})
        assert await self.verdict(message) == "passes"


class OpenPolicies(TestCase):
    """The policy of a plain homeserver."""

    async def test_everything_passes(self) -> None:
        await OpenPolicy().check(policy.LogIn(by=UserID("@a:b")))
        assert await allows(OpenPolicy(), policy.SetPresence(by=None))

    async def test_every_refusal_is_one_that_the_edge_knows(self) -> None:
        assert issubclass(Hidden, Refused)
        assert issubclass(NotAllowed, Refused)
        assert str(Hidden()) == str(Hidden())
