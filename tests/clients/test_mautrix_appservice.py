"""mautrix's application service, the ground of its bridges: it registers people, acts for them, and is told things."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from mautrix.appservice import AppService
from mautrix.appservice.state_store import ASStateStore
from mautrix.client import Client
from mautrix.client.state_store import MemoryStateStore
from mautrix.errors import IntentError, MatrixRequestError, MExclusive
from mautrix.types import Event, EventType, Membership, MessageEvent, RoomCreatePreset, StateEvent, UserID

from tests.kit.appservices import AS_TOKEN, HS_TOKEN, REGISTRATION
from tests.kit.ports import find_port
from tests.kit.processes import SERVER_NAME, Process, open_configuration, running

PASSWORD = "a password that is long enough"


class Store(ASStateStore, MemoryStateStore):
    """What the library remembers, in memory."""

    def __init__(self) -> None:
        ASStateStore.__init__(self)
        MemoryStateStore.__init__(self)
        self._known: set[UserID] = set()

    async def is_registered(self, user_id: UserID) -> bool:
        return user_id in self._known

    async def registered(self, user_id: UserID) -> None:
        self._known.add(user_id)


Story = Callable[[AppService, Client, "Heard"], Awaitable[None]]


class Heard:
    """What a service was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.more = asyncio.Condition()

    async def take(self, event: Event) -> None:
        """Take an event."""
        async with self.more:
            self.events.append(event)
            self.more.notify_all()

    async def wait(self, test: Callable[[Event], bool]) -> Event:
        """The first event of that kind, now or soon."""
        async with self.more:
            await asyncio.wait_for(self.more.wait_for(lambda: any(map(test, self.events))), 30)
        return next(filter(test, self.events))


def _tell(folder: Path, story: Story) -> None:
    port = find_port()
    registration = {**REGISTRATION, "url": f"http://127.0.0.1:{port}", "receive_ephemeral": True}
    (folder / "irc.yaml").write_text(json.dumps(registration))
    configuration = {**open_configuration(find_port()), "application_services": ["irc.yaml"]}

    async def play(server: Process) -> None:
        heard = Heard()
        service = AppService(
            server=server.base_url,
            domain=SERVER_NAME,
            as_token=AS_TOKEN,
            hs_token=HS_TOKEN,
            bot_localpart="_irc_bot",
            id="irc",
            state_store=Store(),
            ephemeral_events=True,
        )
        service.matrix_event_handler(heard.take)
        await service.start("127.0.0.1", port)
        alice = Client(UserID(f"@alice:{SERVER_NAME}"), base_url=server.base_url)
        body = {"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        answer = await alice.api.request("POST", "_matrix/client/v3/register", body)  # type: ignore[call-arg]
        alice.api.token = answer["access_token"]
        try:
            await asyncio.wait_for(story(service, alice, heard), 60)
        finally:
            await service.stop()
            await alice.api.session.close()

    with running(folder, configuration) as server:
        asyncio.run(play(server))


def test_it_bridges_a_room(tmp_path: Path) -> None:
    async def story(service: AppService, alice: Client, heard: Heard) -> None:
        assert await service.ping_self("meow") >= 0
        anna = service.intent.user(UserID(f"@_irc_anna:{SERVER_NAME}"))
        await anna.ensure_registered()
        await anna.set_displayname("Анна")
        room = await alice.create_room(name="9Б", invitees=[anna.mxid], preset=RoomCreatePreset.PRIVATE)

        def is_invitation(event: Event) -> bool:
            return isinstance(event, StateEvent) and event.content.membership == Membership.INVITE

        assert (await heard.wait(lambda e: e.type == EventType.ROOM_MEMBER and is_invitation(e))).room_id == room
        await anna.ensure_joined(room)
        sent = await alice.send_text(room, "слышно?")
        told = await heard.wait(lambda event: getattr(event, "event_id", None) == sent)
        assert isinstance(told, MessageEvent)
        assert told.content.body == "слышно?"
        said = await anna.send_text(room, "слышу", timestamp=1_600_000_000_000)
        event = await alice.get_event(room, said)
        assert (event.sender, event.timestamp) == (anna.mxid, 1_600_000_000_000)
        await alice.set_typing(room, timeout=10_000)
        await heard.wait(lambda event: event.type == EventType.TYPING)
        with pytest.raises(MatrixRequestError):
            await service.intent.user(UserID(f"@alice:{SERVER_NAME}")).whoami()
        with pytest.raises(IntentError):
            await service.intent.user(UserID(f"@_irc_boris:{SERVER_NAME}")).send_text(room, "not me")
        with pytest.raises(MExclusive):
            await alice.add_room_alias(room, "_irc_taken")

    _tell(tmp_path, story)
