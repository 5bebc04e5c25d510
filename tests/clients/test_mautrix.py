"""mautrix, as bots and bridges use it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from mautrix.client import Client
from mautrix.errors import MForbidden, MUnknownToken
from mautrix.types import (
    EventType,
    MessageEvent,
    PaginationDirection,
    RoomCreatePreset,
    RoomID,
    TextMessageEventContent,
    UserID,
)

from tests.kit.processes import SERVER_NAME, Process

PASSWORD = "a password that is long enough"
Story = Callable[[Client, Client], Awaitable[None]]


async def _registered(server: Process, name: str) -> Client:
    client = Client(UserID(f"@{name}:{SERVER_NAME}"), base_url=server.base_url)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    answer = await client.api.request("POST", "_matrix/client/v3/register", body)  # type: ignore[call-arg]
    client.api.token = answer["access_token"]
    client.device_id = answer["device_id"]
    return client


def _tell(server: Process, names: tuple[str, str], story: Story) -> None:
    async def play() -> None:
        alice, bob = [await _registered(server, name) for name in names]
        try:
            await asyncio.wait_for(story(alice, bob), 60)
        finally:
            for client in (alice, bob):
                client.stop()
                await client.api.session.close()

    asyncio.run(play())


async def _shared_room(alice: Client, bob: Client) -> RoomID:
    room = await alice.create_room(name="9Б", invitees=[bob.mxid], preset=RoomCreatePreset.PRIVATE)
    assert await bob.join_room(room) == room
    return room


def test_a_bot_hears_what_is_said_and_answers(server: Process) -> None:
    async def story(alice: Client, bob: Client) -> None:
        room = await _shared_room(alice, bob)
        heard: asyncio.Future[MessageEvent] = asyncio.get_running_loop().create_future()

        async def answer(event: MessageEvent) -> None:
            if event.sender == alice.mxid and not heard.done():
                heard.set_result(event)
                await bob.send_text(event.room_id, "слышу")

        bob.add_event_handler(EventType.ROOM_MESSAGE, answer)
        bob.start(None)
        sent = await alice.send_text(room, "слышно?")
        event = await heard
        assert event.event_id == sent
        assert isinstance(event.content, TextMessageEventContent)
        assert event.content.body == "слышно?"

    _tell(server, ("mau_alice", "mau_bob"), story)


def test_state_members_and_pages_are_as_sent(server: Process) -> None:
    async def story(alice: Client, bob: Client) -> None:
        room = await _shared_room(alice, bob)
        sent = [await alice.send_text(room, f"{n}") for n in range(12)]
        page = await bob.get_messages(room, PaginationDirection.BACKWARD, limit=10)
        assert [event.event_id for event in page.events] == sent[:1:-1]
        assert set(await bob.get_joined_members(room)) == {alice.mxid, bob.mxid}
        await alice.send_state_event(room, EventType.ROOM_TOPIC, {"topic": "уроки"})
        topic = await bob.get_state_event(room, EventType.ROOM_TOPIC)
        assert topic.topic == "уроки"
        await alice.redact(room, sent[-1], reason="a slip")
        gone = await bob.get_event(room, sent[-1])
        assert gone.unsigned["redacted_because"]["content"]["reason"] == "a slip"

    _tell(server, ("mau_carol", "mau_dave"), story)


def test_the_powerless_are_refused_and_the_kicked_stay_out(server: Process) -> None:
    async def story(alice: Client, bob: Client) -> None:
        room = await _shared_room(alice, bob)
        with pytest.raises(MForbidden):
            await bob.send_state_event(room, EventType.ROOM_NAME, {"name": "mine"})
        with pytest.raises(MForbidden):
            await bob.kick_user(room, alice.mxid)
        await alice.kick_user(room, bob.mxid, reason="enough")
        with pytest.raises(MForbidden):
            await bob.send_text(room, "still here?")
        with pytest.raises(MForbidden):
            await bob.join_room_by_id(room)

    _tell(server, ("mau_erin", "mau_frank"), story)


def test_account_data_profile_media_and_logout(server: Process) -> None:
    async def story(alice: Client, bob: Client) -> None:
        await alice.set_displayname("Алиса")
        assert await bob.get_displayname(alice.mxid) == "Алиса"
        await alice.set_account_data("org.example.note", {"kept": True})
        assert await alice.get_account_data("org.example.note") == {"kept": True}
        uri = await alice.upload_media(b"plain words", mime_type="text/plain", filename="words.txt")
        assert await bob.download_media(uri) == b"plain words"
        token = alice.api.token
        await alice.logout()
        alice.api.token = token
        with pytest.raises(MUnknownToken):
            await alice.whoami()

    _tell(server, ("mau_grace", "mau_heidi"), story)
