"""Sessions in memory: found quickly, forgotten at once, never older than what was committed."""

import secrets

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from federation.ids import DeviceID, UserID
from homeserver.accounts import sessions as module
from homeserver.accounts.sessions import Session, Sessions
from homeserver.accounts.tokens import Mint
from homeserver.policy import OpenPolicy
from homeserver.storage import accounts, devices, sessions
from homeserver.storage.accounts import NewAccount
from homeserver.storage.changes import SessionsEnded
from homeserver.storage.database import Database, Txn
from tests.kit.databases import on_both_databases, reactor_in_use

ALICE, BOB = UserID("@alice:parta.test"), UserID("@bob:parta.test")
NOW = 1_700_000_000_000


def begin(txn: Txn, user_id: UserID, device_id: str, tokens: module.Tokens) -> None:
    accounts.append_account(txn, NewAccount(user_id=user_id, created_ms=NOW))
    devices.append_device(txn, user_id, DeviceID(device_id), None, NOW)
    sessions.append_tokens(txn, user_id, DeviceID(device_id), tokens.pair)


@on_both_databases
class InMemory(TestCase):
    db: Database

    def setUp(self) -> None:
        self.reads = 0
        self.mint = Mint(secrets.token_bytes, lambda: NOW)
        self.sessions = Sessions(self.db, OpenPolicy(), self.mint, lambda: NOW)
        self.db.on_commit = self.sessions.heed
        read = self.db.read

        def counting(*args):  # type: ignore[no-untyped-def]
            self.reads += 1
            return read(*args)

        self.patch(self.db, "read", counting)

    async def begin(self, user_id: UserID = ALICE, device_id: str = "PHONE") -> str:
        tokens = self.mint.tokens(refreshable=False)
        await self.db.write(begin, user_id, device_id, tokens)
        await self.turn()
        return tokens.access_token

    async def turn(self) -> None:
        await deferLater(reactor_in_use(), 0)

    async def find(self, token: str) -> Session | None:
        return await self.sessions.find(token)

    async def test_a_session_is_read_once_and_then_known(self) -> None:
        token = await self.begin()
        for _ in range(3):
            session = await self.find(token)
            assert session is not None
            self.assertEqual((session.user_id, session.device_id, session.kind), (ALICE, "PHONE", "user"))
        self.assertEqual(self.reads, 1)

    async def test_what_a_commit_ended_is_not_found_in_the_same_moment(self) -> None:
        token, other = await self.begin(), await self.begin(BOB)
        await self.find(token)
        await self.find(other)
        await self.db.write(devices.remove_devices, ALICE, [DeviceID("PHONE")])
        self.assertIsNone(await self.find(token))
        self.assertIsNotNone(await self.find(other))

    async def test_one_device_ends_and_the_others_stay_known(self) -> None:
        phone, desk = await self.begin(), await self.begin(device_id="DESK")
        await self.find(phone)
        await self.find(desk)
        await self.db.write(devices.remove_devices, ALICE, [DeviceID("PHONE")])
        await self.turn()
        self.reads = 0
        self.assertIsNotNone(await self.find(desk))
        self.assertEqual(self.reads, 0)
        self.assertIsNone(await self.find(phone))

    async def test_powers_and_locks_are_seen_at_once(self) -> None:
        token = await self.begin()
        for change, field, value in (
            (accounts.set_admin, "admin", True),
            (accounts.set_locked, "locked", 1),
            (accounts.set_suspended, "suspended", 1),
            (accounts.set_kind, "kind", "guest"),
        ):
            session = await self.find(token)
            self.assertNotEqual(getattr(session, field), value if field == "kind" else True)
            await self.db.write(change, ALICE, value)
            session = await self.find(token)
            self.assertEqual(getattr(session, field), value if field == "kind" else True)

    async def test_what_was_read_before_an_end_is_not_kept_after_it(self) -> None:
        """The read finds the session, the end is committed, and only then comes what was read."""
        token = await self.begin()
        was_read: Deferred[None] = Deferred()
        gate: Deferred[None] = Deferred()
        read = self.db.read

        async def late(work, *args):  # type: ignore[no-untyped-def]
            row = await read(work, *args)
            was_read.callback(None)
            await gate
            return row

        self.patch(self.db, "read", lambda *args: Deferred.fromCoroutine(late(*args)))
        found = Deferred.fromCoroutine(self.find(token))
        await was_read
        await self.db.write(devices.remove_devices, ALICE, [DeviceID("PHONE")])
        await self.turn()
        gate.callback(None)
        await found
        self.patch(self.db, "read", read)
        self.assertIsNone(await self.find(token))

    async def test_other_peoples_ends_forget_nothing_of_mine(self) -> None:
        token = await self.begin()
        await self.find(token)
        self.sessions.heed(self.db.position, [SessionsEnded(position=9, user_id=BOB, device_id=None)])
        self.reads = 0
        await self.find(token)
        self.assertEqual(self.reads, 0)

    async def test_not_more_are_known_than_there_is_room_for(self) -> None:
        self.patch(module, "KNOWN_SESSIONS", 2)
        tokens = [await self.begin(device_id=f"D{n}") for n in range(3)]
        for token in tokens:
            await self.find(token)
        self.reads = 0
        await self.find(tokens[2])
        await self.find(tokens[1])
        self.assertEqual(self.reads, 0)
        await self.find(tokens[0])
        self.assertEqual(self.reads, 1)
        await self.db.write(devices.remove_all_devices, ALICE)
        for token in tokens:
            self.assertIsNone(await self.find(token))

    async def test_what_is_no_token_is_nobodys(self) -> None:
        await self.begin()
        for token in ("", "x", "\0", "\ud800", "pta_" + "A" * 43, "x" * 100_000):
            self.assertIsNone(await self.find(token))
