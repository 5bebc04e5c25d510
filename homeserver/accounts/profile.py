"""Profiles: what a person shows of themselves, who may see it, and who may say it.

Spec: client-server-api#profiles
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from federation.errors import Refused
from federation.ids import UserID, parse_mxc
from homeserver.accounts.appservices.questions import NO_SERVICES, Questions
from homeserver.accounts.propagation import Propagations
from homeserver.policy import Invalid, NotFound, Policy, SeeProfile, SetProfile
from homeserver.storage import accounts, profiles
from homeserver.storage.database import Database, Txn
from homeserver.storage.profiles import ProfileRow

LARGEST: Final = 64 * 1024
"""How many bytes the whole profile has to stay under, as JSON."""
LONGEST_KEY: Final = 255
LONGEST_NAME: Final = 256
LONGEST_AVATAR: Final = 1000

SHOWN_IN_ROOMS: Final = frozenset({"displayname", "avatar_url"})
_FIELD: Final = re.compile(r"displayname|avatar_url|[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+")

Value: TypeAlias = Any
"""The value of a profile field: any JSON."""


class _Absent:
    """In place of a value: the field is to be removed."""


_ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a person shows; `fields` are those beyond the two that rooms know of."""

    displayname: str | None = None
    avatar_url: str | None = None
    fields: dict[str, Value] = field(default_factory=dict)

    def values(self) -> dict[str, Value]:
        """Every field that is set, by name."""
        shown = {"displayname": self.displayname, "avatar_url": self.avatar_url}
        return {**{name: value for name, value in shown.items() if value is not None}, **self.fields}


def parse_field(name: str) -> str:
    """The name of a profile field.

    Raises:
        Invalid: It is too long (M_KEY_TOO_LARGE), or not a name.

    Spec: client-server-api#put_matrixclientv3profileuseridkeyname
    """
    if len(name.encode("utf-8", "replace")) > LONGEST_KEY:
        raise Invalid("M_KEY_TOO_LARGE", f"The name of a profile field has at most {LONGEST_KEY} bytes")
    if _FIELD.fullmatch(name) is None:
        raise Invalid("M_INVALID_PARAM", "Not the name of a profile field")
    return name


class Elsewhere(Protocol):
    """Knows the profiles of people of other servers."""

    def is_theirs(self, user_id: UserID) -> bool:
        """Whether it is somebody of another server."""

    async def see(self, user_id: UserID) -> dict[str, Value]:
        """Their profile."""


class Profiles:
    """The profiles of this server's people; those of others are seen by `elsewhere`."""

    elsewhere: Elsewhere | None = None

    def __init__(
        self, database: Database, policy: Policy, propagations: Propagations, questions: Questions = NO_SERVICES
    ) -> None:
        self._questions = questions
        self._database = database
        self._policy = policy
        self._propagations = propagations

    async def find(self, user_id: UserID) -> Profile | None:
        """A person's profile, for the server's own use; None when it is empty or not kept here."""
        row = await self._database.read(profiles.find_profile, user_id)
        return None if row is None else _profile(row)

    async def see(self, asker: UserID | None, user_id: UserID) -> dict[str, Value]:
        """A person's profile, for whoever asks; empty when there is the person but nothing set.

        Raises:
            Refused: The asker may not see it.
            NotFound: There is no such person.
            RemoteFault: Their server does not say.

        Spec: client-server-api#get_matrixclientv3profileuserid
        """
        await self._policy.check(SeeProfile(by=asker, person=user_id))
        if asker is not None and self.elsewhere is not None and self.elsewhere.is_theirs(user_id):
            return await self.elsewhere.see(user_id)
        return await self.load(user_id)

    async def load(self, user_id: UserID) -> dict[str, Value]:
        """A profile of one of ours, whoever asks; empty when there is the person but nothing set.

        Raises: NotFound.
        """
        await self._questions.summon_user(user_id)
        found = await self._database.read(_find_shown, user_id)
        if found is None:
            raise NotFound("There is no such profile")
        return found.values()

    async def see_field(self, asker: UserID | None, user_id: UserID, name: str) -> Value:
        """One field of a person's profile.

        Raises:
            Refused: The asker may not see it.
            NotFound: There is no such person here, or nothing set.
        """
        values = await self.see(asker, user_id)
        if name not in values:
            raise NotFound("There is no such profile field")
        return values[name]

    async def set(self, asker: UserID, user_id: UserID, name: str, value: Value) -> None:
        """Set a profile field; the person's rooms learn of a new name or avatar before this is done.

        An empty display name or avatar URL is none at all.

        Raises:
            Refused: The asker may not set it.
            Invalid: It is not a value of that field, or too large.
            BadIdentifier: The avatar is not a media URI.

        Spec: client-server-api#put_matrixclientv3profileuseridkeyname
        """
        await self._check(asker, user_id, name, value)
        check_value(name, value)
        await self._change(user_id, name, _ABSENT if value == "" and name in SHOWN_IN_ROOMS else value)

    async def remove(self, asker: UserID, user_id: UserID, name: str) -> None:
        """Remove a profile field, if it is there.

        Raises:
            Refused: The asker may not.

        Spec: client-server-api#delete_matrixclientv3profileuseridkeyname
        """
        await self._check(asker, user_id, name, None)
        await self._change(user_id, name, _ABSENT)

    async def _check(self, asker: UserID, user_id: UserID, name: str, value: Value) -> None:
        if asker != user_id:
            raise Refused("profile", "This is not your profile")
        await self._policy.check(SetProfile(by=asker, person=user_id, field=name, value=value))

    async def _change(self, user_id: UserID, name: str, value: Value) -> None:
        number = await self._database.write(change_profile, user_id, name, value)
        if number is not None:
            await self._propagations.settle(user_id, "profile", number)


def change_profile(txn: Txn, user_id: UserID, name: str, value: Value) -> int | None:
    """Change one field in a unit of work; gives the number to tell the rooms by, if they need to learn of it.

    Raises:
        Invalid: The profile would be too large.
    """
    row = profiles.find_profile(txn, user_id) or ProfileRow()
    before = _profile(row).values()
    after = {key: old for key, old in before.items() if key != name}
    if not isinstance(value, _Absent):
        after[name] = value
    if after == before:
        return accounts.find_propagation(txn, user_id, "profile")
    if len(msgspec.json.encode(after)) >= LARGEST:
        raise Invalid("M_PROFILE_TOO_LARGE", f"A profile has less than {LARGEST} bytes")
    fields = {key: value for key, value in after.items() if key not in SHOWN_IN_ROOMS}
    changed = ProfileRow(
        displayname=after.get("displayname"),
        avatar_url=after.get("avatar_url"),
        fields=msgspec.json.encode(fields) if fields else None,
    )
    profiles.set_profile(txn, user_id, changed)
    return accounts.append_propagation(txn, user_id, "profile") if name in SHOWN_IN_ROOMS else None


def change_shown(txn: Txn, user_id: UserID, name: str, text: str) -> int | None:
    """The same for the display name and the avatar, where an empty text is none at all."""
    return change_profile(txn, user_id, name, text or _ABSENT)


def _find_shown(txn: Txn, user_id: UserID) -> Profile | None:
    row = profiles.find_profile(txn, user_id)
    if row is not None:
        return _profile(row)
    account = accounts.find_account(txn, user_id)
    return None if account is None or account.deactivated else Profile()


def _profile(row: ProfileRow) -> Profile:
    fields = msgspec.json.decode(row.fields) if row.fields else {}
    return Profile(displayname=row.displayname, avatar_url=row.avatar_url, fields=fields)


def check_value(name: str, value: Value) -> None:
    """Refuse what is no value of a profile field.

    Raises:
        Invalid: It is too long, or of another type.
        BadIdentifier: The avatar is not a media URI.
    """
    longest = {"displayname": LONGEST_NAME, "avatar_url": LONGEST_AVATAR, "m.tz": LONGEST_KEY}.get(name)
    if longest is None:
        return
    if not isinstance(value, str):
        raise Invalid("M_BAD_JSON", f"{name} is a string")
    if len(value) > longest:
        raise Invalid("M_PROFILE_TOO_LARGE", f"{name} has at most {longest} characters")
    if name == "avatar_url" and value:
        parse_mxc(value)
