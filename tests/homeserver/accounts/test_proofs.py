"""Sessions of proof: bounded in number and time."""

from typing import Any

import pytest

from homeserver.accounts import interactive as module
from homeserver.accounts.interactive import Auth, Operation, Unproved
from homeserver.api.client.interactive import ProofNeeded
from tests.kit.doors import PASSWORD, SERVER, DoorsCase

OPERATION = Operation(name="POST /x", user_id=None, flows=(("m.login.dummy",),), origin="10.0.0.1")


class Bounds(DoorsCase):
    async def begin(self, operation: Operation = OPERATION) -> str:
        with pytest.raises(Unproved) as caught:
            await self.interactive.prove(operation, None, b"{}")
        return caught.value.session

    async def proves(self, session: str) -> bool:
        try:
            await self.interactive.prove(OPERATION, Auth(type="m.login.dummy", session=session), b"{}")
        except Unproved:
            return False
        return True

    async def test_the_oldest_goes_when_there_are_too_many(self) -> None:
        self.patch(module, "SESSIONS", 3)
        sessions = [await self.begin() for _ in range(4)]
        self.assertEqual([await self.proves(session) for session in sessions[1:]], [True] * 3)
        self.assertFalse(await self.proves(sessions[0]))

    async def test_the_old_are_forgotten(self) -> None:
        old = [await self.begin() for _ in range(5)]
        self.advance(minutes=30)
        self.assertFalse(await self.proves(old[0]))
        self.assertLessEqual(len(self.interactive._proofs), 2)

    async def test_sessions_cannot_be_guessed(self) -> None:
        sessions = {await self.begin() for _ in range(100)}
        self.assertEqual(len(sessions), 100)
        self.assertTrue(all(len(session) >= 43 for session in sessions))


class Flows(DoorsCase):
    """Flows of several stages, in order."""

    operation = Operation(
        name="POST /x",
        user_id=None,
        flows=(("m.login.dummy", "m.login.password"), ("m.login.registration_token",)),
        origin="10.0.0.1",
    )

    async def show(self, **auth: Any) -> Any:
        try:
            return await self.interactive.prove(self.operation, Auth(**auth), b"{}")
        except Unproved as unproved:
            return unproved

    async def test_the_stages_of_a_flow_are_completed_in_order(self) -> None:
        alice = await self.register("alice")
        identifier = {"type": "m.id.user", "user": "alice"}
        password = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        early = await self.show(**password)
        self.assertEqual((early.fault[0], early.completed), ("M_UNRECOGNIZED", ()))
        half = await self.show(type="m.login.dummy", session=early.session)
        self.assertEqual((half.fault, half.completed), (None, ("m.login.dummy",)))
        body = ProofNeeded(half).body()
        self.assertEqual((body["completed"], body["session"]), (["m.login.dummy"], early.session))
        self.assertNotIn("errcode", body)
        again = await self.show(type="m.login.dummy", session=early.session)
        self.assertEqual((again.fault, again.completed), (None, ("m.login.dummy",)))
        other = await self.show(type="m.login.registration_token", token="x", session=early.session)
        self.assertEqual((other.fault[0], other.completed), ("M_UNRECOGNIZED", ("m.login.dummy",)))
        wrong = await self.show(**{**password, "password": "wrong"}, session=early.session)
        self.assertEqual((wrong.fault[0], wrong.completed), ("M_FORBIDDEN", ("m.login.dummy",)))
        proof = await self.show(**password, session=early.session)
        self.assertEqual(proof.user_id, alice.user_id)
        self.assertEqual((await self.show(session=early.session)).user_id, f"@alice:{SERVER}")
