"""How often a person may ask, where an operator says so."""

from collections.abc import Callable
from typing import Final, TypeAlias

from federation.ids import UserID
from homeserver.operators import Operators
from homeserver.policy import Administer, Invalid, NotFound
from homeserver.storage.accountlist import find_record
from homeserver.storage.database import Database
from homeserver.storage.overrides import RateOverride, load_overrides, set_override

MOST: Final = 1_000_000

Apply: TypeAlias = Callable[[UserID, RateOverride | None], None]
"""Lets a rate hold from now on: the rate limits, handed in."""


class Overrides:
    """Keeps the rates of people for whom another holds than for the rest.

    Methods raise NotFound for somebody who is not here, and Refused.
    """

    def __init__(self, database: Database, operators: Operators, apply: Apply) -> None:
        self._database = database
        self._operators = operators
        self._apply = apply

    async def resume(self) -> None:
        """Let hold what was said before this start."""
        for user_id, override in (await self._database.read(load_overrides)).items():
            self._apply(user_id, override)

    async def see(self, by: UserID, user_id: UserID) -> RateOverride | None:
        """The rate of somebody, None where it is everybody's."""
        await self._check_there(user_id)
        await self._operators.check(Administer(by=by, deed="see_account", person=user_id))
        return (await self._database.read(load_overrides)).get(user_id)

    async def set(self, by: UserID, user_id: UserID, override: RateOverride | None) -> None:
        """Let another rate hold for somebody; None: everybody's.

        Raises: Invalid for a rate that cannot be.
        """
        if override is not None and not all(0 <= number <= MOST for number in override):
            raise Invalid("M_INVALID_PARAM", f"Rates are from 0 to {MOST}")
        await self._check_there(user_id)
        detail = None if override is None else override._asdict()
        entry = await self._operators.check(Administer(by=by, deed="limit", person=user_id), rate=detail)
        await self._operators.write(entry, set_override, user_id, override)
        self._apply(user_id, override)

    async def _check_there(self, user_id: UserID) -> None:
        if await self._database.read(find_record, user_id) is None:
            raise NotFound("User not found")
