"""matrix-nio, as its users use it: log in, talk, page, redact, send a picture."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import nio
import pytest
from PIL import Image

from tests.kit.processes import SERVER_NAME, Process

T = TypeVar("T")
PASSWORD = "a password that is long enough"
Story = Callable[[nio.AsyncClient, nio.AsyncClient], Awaitable[None]]


def _said(answer: Any, kind: type[T]) -> T:
    assert isinstance(answer, kind), answer
    return answer


async def _registered(server: Process, name: str) -> nio.AsyncClient:
    client = nio.AsyncClient(server.base_url, f"@{name}:{SERVER_NAME}")
    _said(await client.register(name, PASSWORD, "laptop"), nio.RegisterResponse)
    return client


def _tell(server: Process, names: tuple[str, str], story: Story) -> None:
    async def play() -> None:
        alice, bob = [await _registered(server, name) for name in names]
        try:
            await asyncio.wait_for(story(alice, bob), 60)
        finally:
            await alice.close()
            await bob.close()

    asyncio.run(play())


async def _shared_room(alice: nio.AsyncClient, bob: nio.AsyncClient) -> str:
    created = _said(await alice.room_create(name="5А", invite=[bob.user_id]), nio.RoomCreateResponse)
    invited = _said(await bob.sync(timeout=5000), nio.SyncResponse)
    assert created.room_id in invited.rooms.invite
    _said(await bob.join(created.room_id), nio.JoinResponse)
    return created.room_id


def _text(body: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": body}


def test_two_people_talk_page_and_redact(server: Process) -> None:
    async def story(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
        room = await _shared_room(alice, bob)
        await bob.sync(full_state=True)
        sent = [
            _said(await alice.room_send(room, "m.room.message", _text(f"строка {n}")), nio.RoomSendResponse).event_id
            for n in range(25)
        ]
        news = _said(await bob.sync(timeout=5000, sync_filter={"room": {"timeline": {"limit": 5}}}), nio.SyncResponse)
        timeline = news.rooms.join[room].timeline
        assert timeline.limited
        assert [event.event_id for event in timeline.events] == sent[-5:]
        assert bob.rooms[room].display_name == "5А"

        page = _said(await bob.room_messages(room, start=timeline.prev_batch, limit=20), nio.RoomMessagesResponse)
        assert [event.event_id for event in page.chunk] == sent[:-5][::-1]

        _said(await alice.room_redact(room, sent[-1], "a slip"), nio.RoomRedactResponse)
        gone = _said(await bob.room_get_event(room, sent[-1]), nio.RoomGetEventResponse)
        assert isinstance(gone.event, nio.RedactedEvent)

    _tell(server, ("nio_alice", "nio_bob"), story)


def test_the_same_transaction_is_one_event(server: Process) -> None:
    async def story(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
        room = await _shared_room(alice, bob)
        twice = [await alice.room_send(room, "m.room.message", _text("once"), tx_id="t1") for _ in range(2)]
        assert twice[0].event_id == twice[1].event_id
        other = await bob.room_send(room, "m.room.message", _text("once"), tx_id="t1")
        assert other.event_id != twice[0].event_id

    _tell(server, ("nio_carol", "nio_dave"), story)


def test_a_picture_goes_up_and_comes_down_with_its_thumbnail(server: Process) -> None:
    async def story(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
        room = await _shared_room(alice, bob)
        drawn = io.BytesIO()
        Image.new("RGB", (400, 300), "navy").save(drawn, "PNG")
        picture = drawn.getvalue()
        uploaded, _ = await alice.upload(
            io.BytesIO(picture), content_type="image/png", filename="доска.png", filesize=len(picture)
        )
        uri = _said(uploaded, nio.UploadResponse).content_uri
        await alice.room_send(room, "m.room.message", {"msgtype": "m.image", "body": "доска.png", "url": uri})
        down = _said(await bob.download(uri), nio.MemoryDownloadResponse)
        assert down.body == picture
        assert down.content_type == "image/png"
        small = _said(await bob.thumbnail(*uri.removeprefix("mxc://").split("/"), 96, 96), nio.ThumbnailResponse)
        assert small.content_type in ("image/png", "image/jpeg")

    _tell(server, ("nio_erin", "nio_frank"), story)


def test_typing_receipts_and_profiles_arrive(server: Process) -> None:
    async def story(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
        room = await _shared_room(alice, bob)
        await alice.sync(full_state=True)
        sent = await alice.room_send(room, "m.room.message", _text("read me"))
        await alice.sync()
        await bob.room_typing(room)
        _said(await bob.room_read_markers(room, sent.event_id, sent.event_id), nio.RoomReadMarkersResponse)
        _said(await bob.set_displayname("Борис"), nio.ProfileSetDisplayNameResponse)
        heard = _said(await alice.sync(timeout=5000), nio.SyncResponse)
        ephemeral = heard.rooms.join[room].ephemeral
        assert any(isinstance(event, nio.TypingNoticeEvent) and event.users == [bob.user_id] for event in ephemeral)
        receipts = [r for event in ephemeral if isinstance(event, nio.ReceiptEvent) for r in event.receipts]
        assert [(r.event_id, r.user_id) for r in receipts] == [(sent.event_id, bob.user_id)]
        assert alice.rooms[room].user_name(bob.user_id) == "Борис"

    _tell(server, ("nio_grace", "nio_heidi"), story)


def test_a_wrong_password_and_an_ended_session_are_refused(server: Process) -> None:
    async def story(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
        stranger = nio.AsyncClient(server.base_url, alice.user_id)
        refused = _said(await stranger.login("not it"), nio.LoginError)
        assert refused.status_code == "M_FORBIDDEN"
        _said(await stranger.login(PASSWORD), nio.LoginResponse)
        token = stranger.access_token
        _said(await stranger.logout(), nio.LogoutResponse)
        stranger.access_token = token
        ended = _said(await stranger.sync(), nio.SyncError)
        assert ended.status_code == "M_UNKNOWN_TOKEN"
        await stranger.close()
        _said(await alice.whoami(), nio.WhoamiResponse)
        _said(await bob.whoami(), nio.WhoamiResponse)

    _tell(server, ("nio_ivan", "nio_judy"), story)


@pytest.mark.parametrize("preset", list(nio.RoomPreset))
def test_a_room_of_each_preset_can_be_made(server: Process, preset: nio.RoomPreset) -> None:
    async def story(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
        created = _said(await alice.room_create(preset=preset, invite=[bob.user_id]), nio.RoomCreateResponse)
        _said(await bob.join(created.room_id), nio.JoinResponse)
        _said(await bob.room_send(created.room_id, "m.room.message", _text("here")), nio.RoomSendResponse)

    _tell(server, (f"nio_k_{preset.value}", f"nio_l_{preset.value}"), story)
