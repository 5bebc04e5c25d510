"""Passwords: their hashes, their strength, and how many are checked at a time."""

import secrets

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from config.settings import Passwords as Cost
from homeserver.accounts import passwords as module
from homeserver.accounts.passwords import Passwords, PasswordsBusy, check_strength
from homeserver.policy import Invalid
from tests.kit.databases import reactor_in_use


def passwords(time_cost: int = 1) -> Passwords:
    return Passwords(Cost(time_cost=time_cost, memory_kib=8), reactor_in_use(), secrets.token_bytes)


class Hashes(TestCase):
    async def test_a_password_matches_its_hash_and_no_other(self) -> None:
        checked = passwords()
        for password in ("correct horse", "пароль", "", "\0", "😀" * 100, "\ud800"):
            kept = await checked.hash(password)
            assert kept.startswith("$argon2id$v=19$m=8,t=1,p=1$")
            assert await checked.matches(kept, password)
            assert not await checked.matches(kept, password + "x")

    async def test_the_same_password_has_another_hash_each_time(self) -> None:
        checked = passwords()
        assert await checked.hash("correct horse") != await checked.hash("correct horse")

    async def test_nothing_matches_nobodys_hash_or_a_broken_one(self) -> None:
        checked = passwords()
        for kept in (None, "", "plain", "$argon2id$v=19$m=8,t=1,p=1$x", "$2b$12$abcdefghijklmnopqrstuv"):
            assert not await checked.matches(kept, "")
            assert not await checked.matches(kept, "plain")

    async def test_nobodys_hash_costs_what_everybodys_does(self) -> None:
        checked = passwords()
        nobodys, somebodys = checked._nobodys, await checked.hash("x")
        assert nobodys.split("$")[:4] == somebodys.split("$")[:4]
        assert [len(part) for part in nobodys.split("$")] == [len(part) for part in somebodys.split("$")]

    async def test_a_hash_made_at_another_cost_is_outdated(self) -> None:
        kept = await passwords().hash("x")
        assert not passwords().is_outdated(kept)
        assert passwords(2).is_outdated(kept)
        assert await passwords(2).matches(kept, "x")

    async def test_a_few_are_computed_at_a_time_and_some_wait_and_no_more(self) -> None:
        self.patch(module, "QUEUE", 3)
        checked = passwords()
        asked = [Deferred.fromCoroutine(checked.matches(None, "x")) for _ in range(module.AT_ONCE + 3)]
        with pytest.raises(PasswordsBusy):
            await checked.matches(None, "x")
        assert not any(await gatherResults(asked))
        assert not await checked.matches(None, "x")


@pytest.mark.parametrize("password", ["12345678a", "correct horse", "пароль-мой", "        a", "x" * 511 + "y"])
def test_a_password_that_is_not_easily_guessed_is_taken(password: str) -> None:
    check_strength(password, "alice")


@pytest.mark.parametrize(
    "password", ["", "1234567", "aaaaaaaa", "AAAAaaaa", "password", "PassWord1", "alicealice", "ALICEalice", "йцукенгш"]
)
def test_a_password_that_is_easily_guessed_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_strength(password, "alicealice")
    assert caught.value.errcode == "M_WEAK_PASSWORD"
