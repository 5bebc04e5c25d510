"""Which application services there are, and which names are theirs.

An expression covers what begins as it says, as services expect of it. People of other servers are in no namespace.

Spec: application-service-api#registration
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from config import registrations
from config.settings import ApplicationService
from federation.ids import RoomAlias, RoomID, ServerName, UserID, server_of
from homeserver.accounts.tokens import hash_token
from homeserver.policy import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """Some names; with `exclusive` nobody else makes or removes them."""

    pattern: re.Pattern[str]
    exclusive: bool


Namespaces: TypeAlias = tuple[Namespace, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AppService:
    """An application service.

    `sender` is its own account; `url` None means that it is told nothing. `only_rooms` are those it is limited to, None
    where it is not; with `enters` they are also open to it, where others need to be let in. It is told of typing,
    receipts and presence under each of `ephemeral_keys`; with `encrypts`, of what its people's devices need for
    encryption, too. `rate_limited`: those it acts for are, it never is itself.
    """

    id: str
    url: str | None
    token_hash: bytes
    hs_token: str
    sender: UserID
    users: Namespaces = ()
    aliases: Namespaces = ()
    rooms: Namespaces = ()
    protocols: tuple[str, ...] = ()
    rate_limited: bool = True
    ephemeral_keys: tuple[str, ...] = ()
    encrypts: bool = False
    only_rooms: frozenset[RoomID] | None = None
    enters: bool = False

    @property
    def hears_ephemeral(self) -> bool:
        """Whether it is told of typing, receipts and presence."""
        return bool(self.ephemeral_keys)

    def covers_user(self, user_id: UserID) -> bool:
        """Whether that is its own account, or in its namespace of users."""
        return user_id == self.sender or (_covers(self.users, user_id) and self.is_local(user_id))

    def covers_alias(self, alias: str) -> bool:
        """Whether an alias is in its namespace."""
        return _covers(self.aliases, alias)

    def covers_room(self, room_id: str) -> bool:
        """Whether a room's ID is in its namespace."""
        return _covers(self.rooms, room_id)

    def owns_user(self, user_id: UserID) -> bool:
        """Whether that account is this service's and nobody else's."""
        return user_id == self.sender or (_covers(self.users, user_id, exclusive=True) and self.is_local(user_id))

    def owns_alias(self, alias: str) -> bool:
        """Whether that alias is this service's and nobody else's."""
        return _covers(self.aliases, alias, exclusive=True)

    def may_enter(self, room_id: str) -> bool:
        """Whether the operator lets it into a room, and hear of it."""
        return self.only_rooms is None or room_id in self.only_rooms

    def is_local(self, user_id: UserID) -> bool:
        """Whether somebody is of the server that the service is registered at."""
        return server_of(user_id) == server_of(self.sender)


class AppServices:
    """All application services of this server."""

    def __init__(self, services: Sequence[AppService] = ()) -> None:
        self.all: Final = tuple(services)
        self._by_token = {service.token_hash: service for service in services}
        self._by_id = {service.id: service for service in services}

    def find_by_token(self, token: str) -> AppService | None:
        """The service whose `as_token` that is."""
        return self._by_token.get(hash_token(token)) if self._by_token else None

    def find(self, service_id: str | None) -> AppService | None:
        """The service of that ID."""
        return None if service_id is None else self._by_id.get(service_id)

    def covering(self, user_id: UserID) -> Iterable[AppService]:
        """The services whose own account that is, or in whose namespace it is."""
        return (service for service in self.all if service.covers_user(user_id))

    def lets_in(self, user_id: UserID, room_id: str) -> bool:
        """Whether a room is open to whom a namespace covers; that a service acts for them the policy has judged."""
        return any(service.enters and service.may_enter(room_id) for service in self.covering(user_id))

    def check_user(self, user_id: UserID, by: AppService | None = None) -> None:
        """Refuse a user ID to somebody who is to be known by it here.

        Raises:
            Invalid: M_EXCLUSIVE: it is another service's, or not the asking service's to make.

        Spec: application-service-api#server-admin-style-permissions
        """
        if by is not None and not by.covers_user(user_id):
            raise Invalid("M_EXCLUSIVE", "This user name is not in the application service's namespace")
        if any(service is not by and service.owns_user(user_id) for service in self.all):
            raise Invalid("M_EXCLUSIVE", "This user name is reserved by an application service")

    def check_alias(self, alias: RoomAlias, by: UserID) -> bool:
        """Refuse to make or remove an alias; True when it is wholly that person's service's.

        Raises:
            Invalid: M_EXCLUSIVE: it is another service's, or not the asking service's to make.

        Spec: application-service-api#server-admin-style-permissions
        """
        own = next((service for service in self.all if service.owns_user(by)), None)
        if own is not None and not own.covers_alias(alias):
            raise Invalid("M_EXCLUSIVE", "This alias is not in the application service's namespace")
        if any(service is not own and service.owns_alias(alias) for service in self.all):
            raise Invalid("M_EXCLUSIVE", "This alias is reserved by an application service")
        return own is not None and own.owns_alias(alias)


def build_services(
    named: Sequence[ApplicationService], server_name: ServerName, *, is_school: bool = False
) -> AppServices:
    """The services that a configuration names; in a school each is let into the rooms it names and no other.

    Raises: ConfigError.
    """
    pairs = zip(registrations.load_registrations(named), named, strict=True)
    return AppServices([_build(registration, entry, server_name, is_school) for registration, entry in pairs])


def _build(
    registration: registrations.Registration, entry: ApplicationService, server_name: ServerName, is_school: bool
) -> AppService:
    rooms = entry.rooms if entry.rooms is not None or not is_school else ()
    return AppService(
        id=registration.id,
        url=None if registration.url is None else registration.url.rstrip("/"),
        token_hash=hash_token(registration.as_token),
        hs_token=registration.hs_token,
        sender=UserID(f"@{registration.sender_localpart}:{server_name}"),
        users=_compile(registration.namespaces.users),
        aliases=_compile(registration.namespaces.aliases),
        rooms=_compile(registration.namespaces.rooms),
        protocols=registration.protocols or (),
        rate_limited=registration.rate_limited is not False,
        ephemeral_keys=registration.ephemeral_keys,
        encrypts=registration.encrypts,
        only_rooms=None if rooms is None else frozenset(map(RoomID, rooms)),
        enters=is_school,
    )


def _compile(namespaces: Iterable[registrations.Namespace]) -> Namespaces:
    return tuple(Namespace(pattern=re.compile(each.regex), exclusive=each.exclusive) for each in namespaces)


def _covers(namespaces: Namespaces, name: str, *, exclusive: bool = False) -> bool:
    return any(each.pattern.match(name) for each in namespaces if each.exclusive or not exclusive)
