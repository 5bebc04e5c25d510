"""matrix-nio with an olm of its own: people talk in an encrypted room, and devices verify each other by emoji."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import nio
from nio.store import SqliteMemoryStore

from tests.kit.processes import SERVER_NAME, Process

T = TypeVar("T")
PASSWORD = "a password that is long enough"
ENCRYPTION = nio.EnableEncryptionBuilder().as_dict()


def _said(answer: Any, kind: type[T]) -> T:
    assert isinstance(answer, kind), answer
    return answer


async def _device(server: Process, name: str, *, register: bool = False) -> nio.AsyncClient:
    user_id = f"@{name}:{SERVER_NAME}"
    config = nio.AsyncClientConfig(encryption_enabled=True, store=SqliteMemoryStore)
    client = nio.AsyncClient(server.base_url, user_id, store_path=".", config=config)
    if register:
        _said(await client.register(name, PASSWORD), nio.RegisterResponse)
    else:
        _said(await client.login(PASSWORD), nio.LoginResponse)
    await _settle(client, full_state=True)
    return client


async def _settle(client: nio.AsyncClient, **how: Any) -> nio.SyncResponse:
    """Sync once and do what the client then finds to be done for its keys."""
    heard = _said(await client.sync(**how), nio.SyncResponse)
    await client.send_to_device_messages()
    if client.should_upload_keys:
        _said(await client.keys_upload(), nio.KeysUploadResponse)
    if client.should_query_keys:
        _said(await client.keys_query(), nio.KeysQueryResponse)
    if client.should_claim_keys:
        _said(await client.keys_claim(client.get_users_for_key_claiming()), nio.KeysClaimResponse)
    return heard


async def _say(client: nio.AsyncClient, room: str, text: str) -> None:
    content = {"msgtype": "m.text", "body": text}
    _said(await client.room_send(room, "m.room.message", content, ignore_unverified_devices=True), nio.RoomSendResponse)


async def _read(client: nio.AsyncClient, room: str, text: str) -> None:
    """Sync until that was read, decrypted."""
    for _ in range(20):
        joined = (await _settle(client, timeout=2000)).rooms.join.get(room)
        for event in joined.timeline.events if joined is not None else ():
            assert not isinstance(event, nio.MegolmEvent), "not decrypted"
            if isinstance(event, nio.RoomMessageText) and event.body == text:
                assert event.decrypted
                return
    raise AssertionError(f"{text} did not come")


async def _meet(client: nio.AsyncClient, other: nio.AsyncClient) -> Any:
    """Sync until the client knows that device."""
    for _ in range(20):
        for device in client.device_store.active_user_devices(other.user_id):
            if device.id == other.device_id:
                return device
        await _settle(client, timeout=2000)
    raise AssertionError(f"{other.device_id} is not known")


def _play(story: Callable[[], Awaitable[list[nio.AsyncClient]]]) -> None:
    async def bounded() -> None:
        for client in await asyncio.wait_for(story(), 90):
            await client.close()

    asyncio.run(bounded())


def test_people_at_three_devices_read_each_other_in_an_encrypted_room(server: Process) -> None:
    async def story() -> list[nio.AsyncClient]:
        alice = await _device(server, "olm_alice", register=True)
        bob = await _device(server, "olm_bob", register=True)
        invite = [bob.user_id]
        created = _said(await alice.room_create(invite=invite, initial_state=[ENCRYPTION]), nio.RoomCreateResponse)
        room = created.room_id
        _said(await bob.join(room), nio.JoinResponse)
        for client in (alice, bob):
            await _settle(client, full_state=True)
        assert alice.rooms[room].encrypted
        for number in range(4):
            sender, reader = (alice, bob) if number % 2 == 0 else (bob, alice)
            await _say(sender, room, f"строка {number}")
            await _read(reader, room, f"строка {number}")
        laptop = await _device(server, "olm_bob")
        assert laptop.device_id != bob.device_id
        await _meet(alice, laptop)
        await _say(alice, room, "обоим")
        for reader in (bob, laptop):
            await _read(reader, room, "обоим")
        _said(await laptop.logout(), nio.LogoutResponse)
        return [alice, bob, laptop]

    _play(story)


def test_two_devices_verify_each_other_by_emoji(server: Process) -> None:
    async def story() -> list[nio.AsyncClient]:
        phone = await _device(server, "olm_carol", register=True)
        _said(await phone.room_create(initial_state=[ENCRYPTION]), nio.RoomCreateResponse)
        await _settle(phone)
        laptop = await _device(server, "olm_carol")
        for one, other in ((phone, laptop), (laptop, phone)):
            assert not (await _meet(one, other)).verified
        _said(await phone.start_key_verification(await _meet(phone, laptop)), nio.ToDeviceResponse)
        await _settle(laptop)
        ((txn, theirs),) = laptop.key_verifications.items()
        _said(await laptop.accept_key_verification(txn), nio.ToDeviceResponse)
        for client in (phone, laptop, phone):
            await _settle(client)
        ours = phone.key_verifications[txn]
        assert ours.get_emoji() == theirs.get_emoji()
        for client in (phone, laptop):
            _said(await client.confirm_short_auth_string(txn), nio.ToDeviceResponse)
        for one, other in ((phone, laptop), (laptop, phone)):
            await _settle(one)
            assert (await _meet(one, other)).verified
        return [phone, laptop]

    _play(story)
