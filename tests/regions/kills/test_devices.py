"""A new device of somebody's is known on the other server after all, whoever is killed meanwhile."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit.keys import device_keys
from tests.kit.killing import BROKEN, Kill, Pair, killed
from tests.kit.strangers import PASSWORD, V3, Person, ask

TOLD = "m.olm.v1"
"""What only a transaction has that tells of a device with keys."""


def add_device(person: Person) -> str:
    """Log in at one more device, and publish its keys; its ID."""
    who = {"type": "m.id.user", "user": person.user_id}
    login = {"type": "m.login.password", "identifier": who, "password": PASSWORD}
    got = ask(person.base_url, "POST", f"{V3}/login", login)
    other = Person(person.base_url, person.user_id, got["device_id"], got["access_token"])
    other.ask("POST", f"{V3}/keys/upload", {"device_keys": device_keys(other.user_id, other.device_id)})
    return other.device_id


def devices(asker: Person, person: Person) -> set[str]:
    """The devices of somebody, as another one finds them."""
    found = asker.ask("POST", f"{V3}/keys/query", {"device_keys": {person.user_id: []}})
    assert found["failures"] == {}
    return set(found["device_keys"].get(person.user_id, ()))


def is_told(person: Person, whose: Person) -> None:
    """Sync until it is told that somebody's devices have changed, since they were last told of anything."""
    person.told.clear()
    person.until(
        lambda answer: whose.user_id in answer.get("device_lists", {}).get("changed", ()) or None, "a new device"
    )


@pytest.fixture
def both_in(pair: Pair, people: tuple[Person, Person]) -> tuple[Person, Person]:
    """Anna and Bob share a room, and Bob has heard of her one device."""
    anna, bob = people
    room_id = anna.create("12")
    bob.join(room_id, pair.home.name)
    bob.sees(room_id, bob, "join")
    with pair.away.gate.stop(TOLD, "answer") as told:
        add_device(anna)
        told.wait()
    bob.sync()
    return anna, bob


KILLS = [
    Kill(("home",), "away", TOLD, "request", lost=True),
    Kill(("home",), "away", TOLD),
    Kill(("away",), "away", TOLD, lost=True),
    Kill(("home", "away"), "home", "/v3/keys/upload"),
]


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_new_device_is_told(pair: Pair, both_in: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = both_in
    assert len(devices(bob, anna)) == 1
    with killed(pair, kill, lambda: add_device(anna)):
        pass
    is_told(bob, anna)
    assert len(devices(bob, anna)) == 2


def test_a_device_that_is_told_of_while_the_list_is_answered_is_not_missed(
    pair: Pair, both_in: tuple[Person, Person]
) -> None:
    anna, bob = both_in
    with ThreadPoolExecutor(1) as meanwhile, pair.home.gate.stop("/user/devices/", "answer") as asked:
        asking = meanwhile.submit(devices, bob, anna)
        asked.wait()
        new = add_device(anna)
        is_told(bob, anna)
        asked.go()
        asking.result()
    assert new in devices(bob, anna)


def test_a_device_that_is_told_of_while_the_list_is_answered_is_not_missed_after_a_kill(
    pair: Pair, both_in: tuple[Person, Person]
) -> None:
    anna, bob = both_in
    with ThreadPoolExecutor(1) as meanwhile, pair.home.gate.stop("/user/devices/", "answer") as asked:
        asking = meanwhile.submit(devices, bob, anna)
        asked.wait()
        new = add_device(anna)
        is_told(bob, anna)
        with killed(pair, Kill(("away",), "home", "/user/devices/", "request"), asked.go):
            pass
        assert isinstance(asking.exception(), BROKEN)
    assert new in devices(bob, anna)
