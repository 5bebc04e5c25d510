"""Registration tokens, as operators make them out, change and withdraw them.

Spec: client-server-api#token-authenticated-registration
"""

import re
from collections.abc import Callable
from typing import Final

from federation.ids import UserID
from homeserver.accounts.tokens import Mint
from homeserver.operators import Operators
from homeserver.policy import Administer, Invalid, NotFound
from homeserver.storage.accounts import append_registration_token
from homeserver.storage.database import Database, Txn
from homeserver.storage.tokens import (
    RegistrationToken,
    find_registration_token,
    load_registration_tokens,
    remove_registration_token,
    set_registration_token,
)

LONGEST: Final = 64
USUAL_LENGTH: Final = 16
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")


class Invitations:
    """Keeps the registration tokens; that it is an operator who asks is checked before."""

    def __init__(self, database: Database, operators: Operators, mint: Mint, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._operators = operators
        self._mint = mint
        self._now_ms = now_ms

    async def load(self, by: UserID, valid: bool | None) -> list[RegistrationToken]:
        """All tokens, or those that can be used, or those that cannot (any more).

        Raises: Refused.
        """
        await self._operators.check(Administer(by=by, deed="see_tokens"))
        return await self._database.read(load_registration_tokens, valid, self._now_ms())

    async def see(self, by: UserID, token: str) -> RegistrationToken:
        """One token.

        Raises: NotFound; Refused.
        """
        await self._operators.check(Administer(by=by, deed="see_tokens"))
        found = await self._database.read(find_registration_token, token)
        if found is None:
            raise _no_token(token)
        return found

    async def make(self, by: UserID, wanted: RegistrationToken, length: int = USUAL_LENGTH) -> RegistrationToken:
        """Make a token out; one without a text gets one of that length that nobody can guess.

        Raises: Invalid: it cannot be, or there is one of that text; Refused.
        """
        if not 1 <= length <= LONGEST:
            raise Invalid("M_INVALID_PARAM", f"length is from 1 to {LONGEST}")
        wanted = wanted._replace(token=wanted.token or (self._mint.secret() + self._mint.secret())[:length])
        if _TOKEN.fullmatch(wanted.token) is None:
            raise Invalid("M_INVALID_PARAM", f"A token has at most {LONGEST} of the letters A-Z a-z 0-9 . _ ~ -")
        self._check(wanted)
        entry = await self._operators.check(Administer(by=by, deed="make_token"), token=wanted.token)
        await self._operators.write(entry, _make, wanted, self._now_ms())
        return wanted

    async def change(self, by: UserID, token: str, changed: dict[str, int | None]) -> RegistrationToken:
        """Say anew how often (`uses_allowed`) or until when (`expires_ms`) a token may be used.

        Raises: Invalid; NotFound; Refused.
        """
        self._check(RegistrationToken(token, changed.get("uses_allowed"), 0, changed.get("expires_ms")))
        entry = await self._operators.check(Administer(by=by, deed="change_token"), token=token, **changed)
        return await self._operators.write(entry, _change, token, changed)

    async def remove(self, by: UserID, token: str) -> None:
        """Withdraw a token.

        Raises: NotFound; Refused.
        """
        entry = await self._operators.check(Administer(by=by, deed="remove_token"), token=token)
        await self._operators.write(entry, _remove, token)

    def _check(self, wanted: RegistrationToken) -> None:
        if wanted.uses_allowed is not None and not 0 <= wanted.uses_allowed < 2**31:
            raise Invalid("M_INVALID_PARAM", "uses_allowed is a number that is not negative, or null")
        if wanted.expires_ms is not None and not self._now_ms() <= wanted.expires_ms < 2**53:
            raise Invalid("M_INVALID_PARAM", "expiry_time is in the future, or null")


def _make(txn: Txn, wanted: RegistrationToken, now_ms: int) -> None:
    token, uses_allowed, _, expires_ms = wanted
    if not append_registration_token(txn, token, uses_allowed=uses_allowed, created_ms=now_ms, expires_ms=expires_ms):
        raise Invalid("M_INVALID_PARAM", f"There is a registration token {token} already")


def _change(txn: Txn, token: str, changed: dict[str, int | None]) -> RegistrationToken:
    found = find_registration_token(txn, token)
    if found is None:
        raise _no_token(token)
    found = found._replace(
        uses_allowed=changed.get("uses_allowed", found.uses_allowed),
        expires_ms=changed.get("expires_ms", found.expires_ms),
    )
    set_registration_token(txn, found)
    return found


def _remove(txn: Txn, token: str) -> None:
    if not remove_registration_token(txn, token):
        raise _no_token(token)


def _no_token(token: str) -> NotFound:
    return NotFound(f"No such registration token: {token}")
