"""The offices of the schools by raw request, and what they do to people with open sessions."""

from typing import Any

from federation.ids import UserID
from homeserver.schools.rights import Kind
from homeserver.storage.accounts import NewAccount, append_account, set_admin
from tests.kit.district import OFFICE, DistrictCase, rooms_of, try_to_send
from tests.kit.people import V3, Person

HEADER = "Фамилия;Имя;Роль;Класс;ИД;Дети\n"


class Offices(DistrictCase):
    """The demonstration school's office."""

    async def office(self) -> tuple[Person, str]:
        """The administrator, and the path of the organisation."""
        return await self.sign_in("admin1"), f"{OFFICE}/{self.org_id}"

    async def operator(self) -> Person:
        """An operator of the region."""
        bureau, core = self.server.bureau, self.server.core
        user_id = UserID("@operator:north.example")
        hashed = await bureau.passwords.hash("operator-secret")
        await core.database.write(append_account, NewAccount(user_id=user_id, created_ms=1, password_hash=hashed))
        await core.database.write(set_admin, user_id, True)
        return await self.log_in("operator", "operator-secret")

    async def people(self, admin: Person, path: str, **query: object) -> dict[str, Any]:
        """The people by name."""
        page = await admin.ok("GET", f"{path}/people", **query)
        return {person["name"]: person for person in page["people"]}

    async def test_the_administrator_sees_the_organisation_its_classes_and_people(self) -> None:
        admin, path = await self.office()
        (org,) = (await admin.ok("GET", OFFICE))["organisations"]
        assert org["org_id"] == self.org_id
        seen = await admin.ok("GET", path)
        assert [entry["title"] for entry in seen["classes"]] == ["5А", "9Б"]
        people = await self.people(admin, path)
        assert people["Лапин Артём"]["roles"][0]["role"] == "pupil"
        assert people["Зимин Олег Павлович"]["roles"][0]["verified"] is False
        ninth = next(entry["class_id"] for entry in seen["classes"] if entry["title"] == "9Б")
        assert set(await self.people(admin, path, class_id=ninth, role="pupil")) == {
            "Рябинин Максим",
            "Крылова Дарья",
            "Садыков Тимур",
        }

    async def test_somebody_verified_by_request_is_let_in_at_once(self) -> None:
        admin, path = await self.office()
        newcomer = await self.sign_in("newcomer")
        staff = await self.room(Kind.STAFF)
        assert (await try_to_send(newcomer, staff)).status == 403
        await admin.ok("POST", f"{path}/people/{newcomer.user_id}/verify")
        assert staff in await rooms_of(newcomer)
        await newcomer.send(staff, "Всем добрый день")

    async def test_a_dismissed_teachers_session_and_every_door_are_gone(self) -> None:
        admin, path = await self.office()
        teacher = await self.sign_in("teacher1")
        room = await self.room(Kind.PUPILS, "9Б")
        await teacher.send(room, "hi")
        await admin.ok("POST", f"{path}/people/{teacher.user_id}/dismiss")
        reply = await try_to_send(teacher, room)
        assert (reply.status, reply.errcode) == (401, "M_UNKNOWN_TOKEN")
        again = await self.sign_in("teacher1")
        assert await rooms_of(again) == set()
        inside = await try_to_send(again, room)
        outside = await try_to_send(again, "!" + "x" * 43)
        assert (inside.status, inside.body) == (outside.status, outside.body)
        assert (await again.call("GET", f"/rooms/{room}/messages", dir="b")).status == 403
        assert (await again.call("POST", f"/join/{room}", {})).status == 403

    async def test_after_a_restart_the_dismissed_are_still_out(self) -> None:
        admin, path = await self.office()
        teacher = await self.sign_in("teacher1")
        room = await self.room(Kind.PUPILS, "9Б")
        await admin.ok("POST", f"{path}/people/{teacher.user_id}/dismiss")
        await self.restart()
        assert (await try_to_send(teacher, room)).status == 401
        assert await rooms_of(await self.sign_in("teacher1")) == set()
        assert (await admin.ok("GET", f"{path}/audit"))["entries"][1]["deed"] == "dismiss"

    async def test_a_pupil_moves_and_the_class_is_promoted(self) -> None:
        admin, path = await self.office()
        pupil = await self.sign_in("pupil1")
        ninth = await self.class_id("9Б")
        await admin.ok("POST", f"{path}/people/{pupil.user_id}/move", {"class_id": ninth})
        assert await self.room(Kind.PUPILS, "9Б") in await rooms_of(pupil)
        promoted = await admin.ok("POST", f"{path}/classes/{ninth}/promote")
        assert promoted["title"] == "10Б"
        again = await admin.call("POST", f"{path}/classes/{ninth}/promote")
        assert (again.status, again.errcode) == (409, "M_INVALID_PARAM")

    async def test_a_class_and_a_roster_make_people_who_can_sign_in(self) -> None:
        admin, path = await self.office()
        opened = await admin.ok("POST", f"{path}/classes", {"title": "7В"})
        assert opened["title"] == "7В"
        csv = "\ufeff" + HEADER + "Волков;Глеб;ученик;7В;1;\nВолкова;Инна;мать;;2;1\n"
        tried = await admin.ok("POST", f"{path}/roster", {"csv": csv, "dry_run": True})
        assert (tried["done"], len(tried["actions"])) == (False, 4)
        done = await admin.ok("POST", f"{path}/roster", {"csv": csv})
        assert (done["done"], len(done["actions"]), done["faults"]) == (True, 4, [])
        assert (await admin.ok("POST", f"{path}/roster", {"csv": csv}))["actions"] == []
        person = (await self.people(admin, path))["Волков Глеб"]
        sheet = (await admin.ok("POST", f"{path}/sheets", {"people": [person["user_id"]]}))["sheets"][0]
        pupil = await self.log_in(sheet["login"], sheet["password"])
        assert await self.room(Kind.PUPILS, "7В") in await rooms_of(pupil)

    async def test_a_roster_tells_its_faults_by_line(self) -> None:
        admin, path = await self.office()
        csv = HEADER + "<b>Волков;Глеб;ученик;9Б;1;\nОрлов;Марк;директор;;2;\nЛисина;Вера;ученица;9Б;3;\n"
        answer = await admin.ok("POST", f"{path}/roster", {"csv": csv})
        assert [fault["line"] for fault in answer["faults"]] == [2, 3]
        assert answer["done"] is False
        assert "Лисина Вера" not in await self.people(admin, path)

    async def test_a_mass_removal_is_asked_about(self) -> None:
        admin, path = await self.office()
        csv = HEADER + "".join(f"Волков;Глеб;ученик;9Б;{number};\n" for number in range(10))
        await admin.ok("POST", f"{path}/roster", {"csv": csv})
        reply = await admin.call("POST", f"{path}/roster", {"csv": HEADER, "complete": True})
        assert reply.status == 409
        answer = await admin.ok("POST", f"{path}/roster", {"csv": HEADER, "complete": True, "leaving": 10})
        assert answer["leaving"] == 10

    async def test_the_region_founds_a_school_and_appoints_its_administrator(self) -> None:
        operator = await self.operator()
        wanted = {"name": "Средняя школа № 8", "short_name": "Школа № 8", "inn": "7700000024", "kpp": "770001001"}
        reply = await operator.call("POST", OFFICE, wanted)
        assert reply.status == 400  # a wrong control digit
        wanted["inn"] = "7700000023"
        reply = await operator.call("POST", OFFICE, wanted)
        org_id = reply.json["org_id"]
        assert (await operator.call("POST", OFFICE, wanted)).status == 409
        path = f"{OFFICE}/{org_id}"
        body = {"family": "Соколова", "given": "Марина", "role": "teacher"}
        user_id = (await operator.ok("POST", f"{path}/people", body))["user_id"]
        order = {"sha256": "0" * 64, "signed_on": "2026-09-01"}
        await operator.ok("POST", f"{path}/people/{user_id}/appoint", order)
        assert (await operator.call("POST", f"{path}/people/{user_id}/appoint", order)).status == 409
        demo = (await self.sign_in("admin1")).user_id
        other = {"sha256": "0" * 64, "signed_on": "2026-09-01"}
        assert (await operator.call("POST", f"{OFFICE}/{self.org_id}/people/{demo}/appoint", other)).status == 409

    async def test_another_role_is_given_within_its_scope(self) -> None:
        admin, path = await self.office()
        parent = await self.sign_in("parent1")
        body = {"role": "parent", "child": "@pupil5:north.example"}
        await admin.ok("POST", f"{path}/people/{parent.user_id}/roles", body)
        assert await self.room(Kind.PARENTS, "9Б") in await rooms_of(parent)
        for spoiled in ({"role": "administrator"}, {"role": "teacher", "class_title": "12Я"}, {"role": ""}):
            reply = await admin.call("POST", f"{path}/people/{parent.user_id}/roles", spoiled)
            assert reply.status in {400, 404, 409}, spoiled

    async def test_nobody_else_has_an_office(self) -> None:
        """For whom it does not work, the organisation is as one that does not exist."""
        pupil = "@pupil1:north.example"
        fifth = await self.class_id("5А")
        before = await self.school()
        doors: list[tuple[str, str, object]] = [
            ("GET", "", None),
            ("GET", "/people", None),
            ("GET", "/audit", None),
            ("POST", "/classes", {"title": "6А"}),
            ("POST", f"/classes/{fifth}/promote", None),
            ("POST", "/people", {"family": "Волков", "given": "Глеб", "role": "teacher"}),
            ("POST", "/roster", {"csv": HEADER}),
            ("POST", "/sheets", {"people": [pupil]}),
            ("POST", f"/people/{pupil}/roles", {"role": "teacher"}),
            ("POST", f"/people/{pupil}/verify", None),
            ("POST", f"/people/{pupil}/dismiss", None),
            ("POST", f"/people/{pupil}/move", {"class_id": fifth}),
            ("POST", f"/people/{pupil}/appoint", {"sha256": "0" * 64, "signed_on": "2026-09-01"}),
        ]
        for login in ("teacher1", "pupil1", "parent1", "newcomer", "dismissed"):
            person = await self.sign_in(login)
            for method, path, body in doors:
                here = await person.call(method, f"{OFFICE}/{self.org_id}{path}", body)
                nowhere = await person.call(method, f"{OFFICE}/nowhere{path}", body)
                assert here.status == 404, (login, path, here.body)
                assert (here.status, here.body) == (nowhere.status, nowhere.body)
            assert (await person.ok("GET", OFFICE))["organisations"] == []
            founding = await person.call("POST", OFFICE, {"name": "Школа", "short_name": "Ш"})
            assert founding.status == 404
        assert await self.school() == before

    async def test_without_a_token_nothing_is_told(self) -> None:
        for method, path in (("GET", ""), ("GET", f"/{self.org_id}"), ("POST", f"/{self.org_id}/roster")):
            reply = await self.call(method, OFFICE + path, {} if method == "POST" else None)
            assert (reply.status, reply.errcode) == (401, "M_MISSING_TOKEN")

    async def test_a_wrong_body_is_refused_and_nothing_written(self) -> None:
        admin, path = await self.office()
        before = await self.school()
        for door, body, status in (
            ("/people", [], 400),
            ("/people", {"family": "Волков"}, 400),
            ("/people", {"family": 1, "given": "Глеб", "role": "teacher"}, 400),
            ("/people", {"family": "Волков", "given": "Глеб", "role": "teacher", "admin": True}, 400),
            ("/people", {"family": "<b>", "given": "Глеб", "role": "teacher"}, 400),
            ("/people", {"family": "Волков", "given": "Глеб", "role": "administrator"}, 400),
            ("/people", {"family": "Волков", "given": "Глеб", "role": "pupil"}, 409),
            ("/people", {"family": "Волков", "given": "Глеб", "role": "parent", "child": "nobody"}, 409),
            ("/classes", {"title": "5А"}, 409),
            ("/classes", {"title": "Хор"}, 400),
            ("/classes", {"title": "6А", "year": 9999}, 400),
            ("/roster", {"csv": 5}, 400),
            ("/roster", {"csv": "x;y\n"}, 400),
            ("/roster", {"csv": HEADER, "leaving": -1}, 400),
            ("/sheets", {"people": []}, 400),
            ("/sheets", {"people": ["nobody"]}, 400),
            ("/people/nobody/verify", None, 400),
            ("/people/@nobody:north.example/verify", None, 404),
            ("/people/@dismissed:north.example/verify", None, 409),
            ("/people/@teacher1:north.example/move", {"class_id": "x"}, 409),
            ("/people/@pupil1:north.example/move", {"class_id": "x"}, 404),
            ("/classes/x/promote", None, 404),
        ):
            reply = await admin.call("POST", path + door, body)
            assert reply.status == status, (door, body, reply.body)
            assert reply.errcode.startswith("M_")
        assert await self.school() == before

    async def test_the_audit_log_is_paged(self) -> None:
        admin, path = await self.office()
        entries: list[dict[str, Any]] = []
        query: dict[str, object] = {"limit": 7}
        while True:
            page = await admin.ok("GET", f"{path}/audit", **query)
            entries += page["entries"]
            if "next" not in page:
                break
            query["from"] = page["next"]
        numbers = [entry["entry"] for entry in entries]
        assert numbers == sorted(numbers, reverse=True)
        assert entries[-1]["deed"] == "found"
        assert all(entry["done_by"] for entry in entries)

    async def test_the_people_are_paged(self) -> None:
        admin, path = await self.office()
        csv = HEADER + "".join(f"Волков;Глеб;ученик;9Б;{number};\n" for number in range(210))
        await admin.ok("POST", f"{path}/roster", {"csv": csv})
        first = await admin.ok("GET", f"{path}/people")
        second = await admin.ok("GET", f"{path}/people", **{"from": first["next"]})
        users = [person["user_id"] for person in (*first["people"], *second["people"])]
        assert len(set(users)) == len(users) == 224
        assert "next" not in second


class Doors(DistrictCase):
    """Doors of the client API that the first school day does not come by."""

    async def test_a_picture_is_seen_in_the_class_and_nowhere_else(self) -> None:
        teacher = await self.sign_in("teacher1")
        room = await self.room(Kind.PUPILS, "9Б")
        uri = await teacher.upload(b"\x89PNG....")
        path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
        pupil = await self.sign_in("pupil3")
        assert (await teacher.call("GET", path)).status == 200
        assert (await pupil.call("GET", path)).status == 404
        await teacher.send_event(room, "m.room.message", {"msgtype": "m.image", "body": "a.png", "url": uri})
        assert (await pupil.call("GET", path)).status == 200
        absent = await pupil.call("GET", path + "x")
        for login in ("pupil1", "parent3", "newcomer", "dismissed", "teacher2"):
            stranger = await self.sign_in(login)
            reply = await stranger.call("GET", path)
            assert (reply.status, reply.body) == (absent.status, absent.body), login
            upload = await self.call("POST", "/_matrix/media/v3/upload", token=stranger.token, body=b"x")
            assert upload.status == (403 if login in {"newcomer", "dismissed"} else 200)

    async def test_nobody_makes_an_account_or_closes_one(self) -> None:
        auth = {"type": "m.login.dummy"}
        wanted = {"username": "friend", "password": "a long password", "auth": auth}
        assert (await self.call("POST", f"{V3}/register", wanted)).status == 403
        pupil = await self.sign_in("pupil1")
        identifier = {"type": "m.id.user", "user": "pupil1"}
        proof = {"type": "m.login.password", "identifier": identifier, "password": "parta-demo-5"}
        assert (await pupil.call("POST", "/account/deactivate", {"auth": proof})).status == 403
        assert (await pupil.call("GET", "/account/whoami")).status == 200

    async def test_no_other_service_is_told_who_somebody_is(self) -> None:
        """School: row 42."""
        for login in ("teacher1", "pupil1", "dismissed"):
            person = await self.sign_in(login)
            reply = await person.call("POST", f"/user/{person.user_id}/openid/request_token", {})
            assert reply.status == 403

    async def test_the_directory_finds_classmates_and_colleagues_and_nobody_else(self) -> None:
        """School: row 41."""
        expected = {
            "teacher1": {"Крылова Дарья", "Крылов Денис Олегович"},
            "pupil3": {"Крылова Дарья"},
            "parent3": {"Крылов Денис Олегович"},
            "teacher2": set(),
            "pupil1": set(),
            "newcomer": set(),
            "dismissed": set(),
        }
        for login, names in expected.items():
            person = await self.sign_in(login)
            found = await person.ok("POST", "/user_directory/search", {"search_term": "крыл"})
            assert {hit["display_name"] for hit in found["results"]} == names, login
            assert found["limited"] is False

    async def test_the_service_account_has_no_way_in(self) -> None:
        for password in ("", "parta-demo-5"):
            identifier = {"type": "m.id.user", "user": "_parta"}
            wanted = {"type": "m.login.password", "identifier": identifier, "password": password}
            assert (await self.call("POST", f"{V3}/login", wanted)).status == 403

    async def test_rooms_are_begun_for_two_and_belong_to_the_school(self) -> None:
        teacher, parent = await self.sign_in("teacher1"), await self.sign_in("parent3")
        wanted = {"invite": [parent.user_id], "is_direct": True, "preset": "private_chat"}
        room = (await teacher.ok("POST", "/createRoom", wanted))["room_id"]
        assert room in await rooms_of(parent)
        await teacher.send(room, "Добрый вечер")
        await parent.send(room, "Здравствуйте")
        assert await teacher.texts(room) == ["Здравствуйте", "Добрый вечер"]
        create = await teacher.ok("GET", f"/rooms/{room}/state")
        assert next(e for e in create if e["type"] == "m.room.create")["sender"] == "@_parta:north.example"
        for spoiled in (
            {**wanted, "preset": "public_chat"},
            {**wanted, "visibility": "public"},
            {**wanted, "creation_content": {"additional_creators": [teacher.user_id]}},
            {**wanted, "creation_content": {"type": "m.space"}},
            {**wanted, "power_level_content_override": {"users": {teacher.user_id: 100}}},
            {**wanted, "invite": [parent.user_id, "@teacher2:north.example"]},
            {**wanted, "room_alias_name": "ours"},
            {**wanted, "initial_state": [{"type": "m.room.join_rules", "content": {"join_rule": "public"}}]},
            {"name": "Клуб"},
        ):
            assert (await teacher.call("POST", "/createRoom", spoiled)).status == 403, spoiled
        third = await teacher.call("POST", f"/rooms/{room}/invite", {"user_id": "@teacher2:north.example"})
        assert third.status == 403

    async def test_a_room_for_two_as_clients_ask_for_it_is_the_schools_all_the_same(self) -> None:
        teacher, parent = await self.sign_in("teacher1"), await self.sign_in("parent3")
        guests = {"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "can_join"}}
        wanted = {"invite": [parent.user_id], "is_direct": True, "preset": "trusted_private_chat"}
        room = (await teacher.ok("POST", "/createRoom", {**wanted, "initial_state": [guests]}))["room_id"]
        state = {event["type"]: event for event in await teacher.ok("GET", f"/rooms/{room}/state")}
        create, powers = state["m.room.create"], state["m.room.power_levels"]["content"]["users"]
        assert create["sender"] == "@_parta:north.example"
        assert "additional_creators" not in create["content"]
        assert powers.get(teacher.user_id) == powers.get(parent.user_id)
        assert state["m.room.guest_access"]["content"] == {"guest_access": "forbidden"}
        await parent.send(room, "Добрый вечер")
        assert await teacher.texts(room) == ["Добрый вечер"]

    async def test_a_teacher_writes_to_a_pupil_under_the_eyes_of_the_administrator(self) -> None:
        teacher, admin = await self.sign_in("teacher1"), await self.sign_in("admin1")
        wanted = {"invite": ["@pupil3:north.example"], "is_direct": True}
        room = (await teacher.ok("POST", "/createRoom", wanted))["room_id"]
        await teacher.send(room, "Зайди завтра")
        assert await admin.texts(room) == ["Зайди завтра"]
        algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
        assert (await teacher.call("PUT", f"/rooms/{room}/state/m.room.encryption/", algorithm)).status == 403
        teacher2 = await self.sign_in("teacher2")
        assert (await teacher2.call("POST", "/createRoom", wanted)).status == 403

    async def test_messages_between_devices_reach_only_those_one_may_write_to(self) -> None:
        pupil, teacher = await self.sign_in("pupil3"), await self.sign_in("teacher1")
        for person in (teacher.user_id, "@pupil4:north.example", "@nobody:north.example"):
            body = {"messages": {person: {"*": {"x": 1}}}}
            answer = await pupil.ok("PUT", "/sendToDevice/m.secret/s1", body)
            assert answer == {}

    async def test_a_room_directory_and_its_aliases_show_nothing(self) -> None:
        for login in ("pupil1", "dismissed"):
            person = await self.sign_in(login)
            found = await person.ok("GET", "/publicRooms")
            assert found["chunk"] == []
            alias = "/directory/room/%23school:north.example"
            room = await self.room(Kind.CHANNEL)
            assert (await person.call("GET", alias)).status == 404
            assert (await person.call("PUT", alias, {"room_id": room})).status == 403
