"""The demonstration school, as `scripts/run` makes it, through matrix-nio and mautrix."""

import asyncio
import io
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import nio
import pytest
from mautrix.client import Client
from mautrix.errors import MForbidden
from mautrix.types import LoginType, MatrixUserIdentifier, UserID
from PIL import Image

from tests.kit.ports import find_port
from tests.kit.processes import PARTA, Process, running

PASSWORD = "parta-demo-5"
SERVER = "demo.localhost"


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A region with the demonstration school."""
    folder = tmp_path_factory.mktemp("region")
    port = find_port()
    configuration: dict[str, Any] = {
        "server_name": SERVER,
        "data_dir": "data",
        "listeners": [{"port": port, "bind": ["127.0.0.1"], "resources": ["client", "school", "admin"]}],
        "limits": {"rates": False},
        "passwords": {"time_cost": 1, "memory_kib": 8},
    }
    (folder / "parta.yaml").write_text(json.dumps(configuration))
    made = subprocess.run([*PARTA, "demo", "--data", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert PASSWORD in made.stdout
    with running(folder, configuration) as process:
        yield process


async def _nio(region: Process, name: str) -> nio.AsyncClient:
    client = nio.AsyncClient(region.base_url, f"@{name}:{SERVER}")
    assert isinstance(await client.login(PASSWORD), nio.LoginResponse)
    await client.sync(full_state=True)
    return client


async def _mautrix(region: Process, name: str) -> Client:
    client = Client(UserID(f"@{name}:{SERVER}"), base_url=region.base_url)
    await client.login(MatrixUserIdentifier(user=name), login_type=LoginType.PASSWORD, password=PASSWORD)
    return client


def _named(client: nio.AsyncClient, name: str) -> str:
    (room_id,) = [room_id for room_id, room in client.rooms.items() if room.name == name]
    return room_id


def _play(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(story(), 60)

    asyncio.run(bounded())


def _bodies(answer: Any) -> list[str]:
    assert isinstance(answer, nio.RoomMessagesResponse), answer
    return [event.body for event in answer.chunk if isinstance(event, nio.RoomMessageText)][::-1]


def test_the_teacher_writes_the_pupils_answer_and_the_parent_does_not_see(region: Process) -> None:
    async def story() -> None:
        teacher, artyom, parent = [await _nio(region, name) for name in ("teacher1", "pupil1", "parent1")]
        polina = await _mautrix(region, "pupil2")
        room = _named(teacher, "5А: ученики")
        assert room in artyom.rooms
        assert room not in parent.rooms
        await teacher.room_send(room, "m.room.message", {"msgtype": "m.text", "body": "Кто дежурит?"})
        await artyom.room_send(room, "m.room.message", {"msgtype": "m.text", "body": "Я"})
        await polina.send_text(room, "И я")
        assert _bodies(await teacher.room_messages(room)) == ["Кто дежурит?", "Я", "И я"]
        refused = await parent.room_messages(room)
        nowhere = await parent.room_messages("!" + "A" * 43)
        assert isinstance(refused, nio.RoomMessagesError)
        assert isinstance(nowhere, nio.RoomMessagesError)
        assert (refused.status_code, refused.message) == (nowhere.status_code, nowhere.message)
        for client in (teacher, artyom, parent):
            await client.close()
        await polina.api.session.close()

    _play(story)


def test_an_image_is_for_the_room_it_is_shown_in(region: Process) -> None:
    async def story() -> None:
        teacher, artyom, maxim = [await _nio(region, name) for name in ("teacher2", "pupil1", "pupil3")]
        drawn = io.BytesIO()
        Image.new("RGB", (300, 200), "green").save(drawn, "PNG")
        uploaded, _ = await teacher.upload(
            io.BytesIO(drawn.getvalue()), content_type="image/png", filename="доска.png", filesize=len(drawn.getvalue())
        )
        assert isinstance(uploaded, nio.UploadResponse), uploaded
        before = await artyom.download(uploaded.content_uri)
        assert isinstance(before, nio.DownloadError)
        await teacher.room_send(
            _named(teacher, "5А: ученики"),
            "m.room.message",
            {"msgtype": "m.image", "body": "доска.png", "url": uploaded.content_uri},
        )
        after = await artyom.download(uploaded.content_uri)
        assert isinstance(after, nio.MemoryDownloadResponse), after
        assert after.body == drawn.getvalue()
        other_class = await maxim.download(uploaded.content_uri)
        assert isinstance(other_class, nio.DownloadError)
        assert other_class.status_code == before.status_code == "M_NOT_FOUND"
        for client in (teacher, artyom, maxim):
            await client.close()

    _play(story)


@pytest.mark.parametrize("outsider", ["newcomer", "dismissed", "pupil3"])
def test_the_doors_of_a_class_look_to_an_outsider_as_if_there_were_no_class(region: Process, outsider: str) -> None:
    async def story() -> None:
        teacher = await _nio(region, "teacher1")
        room, nowhere = _named(teacher, "5А: ученики"), "!" + "A" * 43
        pupil, nobody = f"@pupil1:{SERVER}", f"@nobody:{SERVER}"
        client = await _mautrix(region, outsider)
        await teacher.room_send(room, "m.room.message", {"msgtype": "m.text", "body": "только для 5А"})
        doors: list[tuple[Callable[[str, str], Awaitable[object]], type[Exception]]] = [
            (lambda where, _: client.join_room_by_id(where), MForbidden),
            (lambda where, _: client.knock_room(where), MForbidden),
            (lambda where, _: client.invite_user(where, client.mxid), MForbidden),
            (lambda where, _: client.send_text(where, "здесь?"), MForbidden),
            (lambda where, _: client.send_state_event(where, "m.room.topic", {"topic": "?"}), MForbidden),
            (lambda where, _: client.get_state(where), MForbidden),
            (lambda where, _: client.get_joined_members(where), MForbidden),
            (lambda _, who: client.get_displayname(who), MForbidden),
        ]
        for number, (door, refusal) in enumerate(doors):
            answers = []
            for where, who in ((room, pupil), (nowhere, nobody)):
                with pytest.raises(refusal) as refused:
                    await door(where, who)
                answers.append((refused.value.http_status, refused.value.errcode, str(refused.value)))
            assert answers[0] == answers[1], f"door {number}"
        listed = await client.api.request("GET", "_matrix/client/v3/publicRooms")  # type: ignore[call-arg]
        assert listed["chunk"] == []
        await client.api.session.close()
        await teacher.close()

    _play(story)
