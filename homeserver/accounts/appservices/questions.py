"""What application services are asked and told over HTTP, at the address that the operator gave for each.

A service of an earlier time that does not know the present paths is asked again at those of its time.

Spec: application-service-api#legacy-routes
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

import msgspec

from federation.errors import RemoteFault
from federation.ids import RoomAlias, UserID
from federation.transport.agent import Incoming, Outgoing
from homeserver.accounts.appservices.registry import AppService, AppServices
from homeserver.policy import Invalid
from homeserver.storage.accounts import find_account
from homeserver.storage.database import Database

TELL_WITHIN_S: Final = 60.0
ASK_WITHIN_S: Final = 10.0
TRIES: Final = 3
MOST_ANSWERED: Final = 1 << 20
_UNKNOWN_PATH: Final = frozenset({404, 405, 501})
_OLD_PATHS: Final = {"transactions": "", "users": "", "rooms": "", "thirdparty": "/_matrix/app/unstable"}


class Asks(Protocol):
    """Makes requests outward."""

    async def ask(self, request: Outgoing) -> Incoming:
        """Make a request and hear the whole answer."""


class Declined(RemoteFault):
    """The service answered, but not that it is so or that it took it."""

    def __init__(self, answer: Incoming) -> None:
        super().__init__(f"the application service answered {answer.status}")
        self.status = answer.status
        self.body = answer.body


class NoAnswer(RemoteFault):
    """A service that must be asked did not answer, several times.

    Spec: application-service-api#querying
    """

    def __init__(self) -> None:
        super().__init__("The application service did not answer")


class Questions:
    """Asks application services, and tells them. `patience_s` is how long an answer to a question may take."""

    def __init__(self, services: AppServices, database: Database | None = None, outward: Asks | None = None) -> None:
        self.services = services
        self.patience_s = ASK_WITHIN_S
        self._database = database
        self._outward = outward

    async def tell(self, service: AppService, txn_id: str, body: bytes) -> None:
        """Let a service take a transaction.

        Raises: RemoteFault: it could not be reached, or did not take it.
        Spec: application-service-api#put_matrixappv1transactionstxnid
        """
        await self._ask(service, "PUT", f"transactions/{quote(txn_id, safe='')}", body=body, within_s=TELL_WITHIN_S)

    async def ping(self, service: AppService, txn_id: str | None) -> None:
        """See whether a service can be reached and knows our token.

        Raises:
            Invalid: M_URL_NOT_SET.
            RemoteFault: Declined, or it could not be reached.

        Spec: application-service-api#post_matrixappv1ping
        """
        if service.url is None:
            raise Invalid("M_URL_NOT_SET", "The application service has no URL")
        body = msgspec.json.encode({} if txn_id is None else {"transaction_id": txn_id})
        await self._ask(service, "POST", "ping", body=body)

    async def summon_user(self, user_id: UserID) -> None:
        """Let the service in whose namespace an unknown user is make the account, if it wants to.

        Spec: application-service-api#get_matrixappv1usersuserid
        """
        asked = [each for each in self.services.covering(user_id) if self._is_open(each)] if self.services.all else ()
        if not asked or self._database is None or await self._database.read(find_account, user_id) is not None:
            return
        for service in asked:
            try:
                if await self._is_known(service, f"users/{quote(user_id, safe='')}"):
                    return
            except NoAnswer:
                continue

    async def summon_alias(self, alias: RoomAlias) -> bool:
        """Let a service in whose namespace an unknown alias is make the room; whether one says that it has.

        Raises: NoAnswer.
        Spec: application-service-api#get_matrixappv1roomsroomalias
        """
        for service in self.services.all:
            if (
                self._is_open(service)
                and service.covers_alias(alias)
                and await self._is_known(service, f"rooms/{quote(alias, safe='')}")
            ):
                return True
        return False

    async def look_up(self, service: AppService, what: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        """What a service knows of its network: `what` is the path behind ``thirdparty/``; None when it is nothing.

        Spec: application-service-api#third-party-networks
        """
        try:
            return msgspec.json.decode((await self._ask(service, "GET", f"thirdparty/{what}", query=query)).body)
        except (RemoteFault, msgspec.DecodeError):
            return None

    def of_protocol(self, protocol: str | None = None) -> list[AppService]:
        """The services that provide a protocol, or any (None)."""
        return [
            service
            for service in self.services.all
            if self._is_open(service) and (service.protocols if protocol is None else protocol in service.protocols)
        ]

    @staticmethod
    def _is_open(service: AppService) -> bool:
        """Whether a service may be asked what people ask for: one that is limited to some rooms is not."""
        return service.url is not None and service.only_rooms is None

    async def _is_known(self, service: AppService, path: str) -> bool:
        for _ in range(TRIES):
            try:
                await self._ask(service, "GET", path)
            except Declined as fault:
                if fault.status < 500:
                    return False
            except RemoteFault:
                continue
            else:
                return True
        raise NoAnswer

    async def _ask(
        self,
        service: AppService,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Sequence[tuple[str, str]] = (),
        within_s: float | None = None,
    ) -> Incoming:
        """Ask at the present path, and where there is none at the old one.

        Raises: RemoteFault.
        """
        old = _OLD_PATHS.get(path.partition("/")[0])
        request = _Asked(service, method, body, within_s or self.patience_s)
        answer = await self._at(request, f"/_matrix/app/v1/{path}", query)
        if answer.status in _UNKNOWN_PATH and old is not None and not _is_said_by_itself(method, answer):
            answer = await self._at(request, f"{old}/{path}", [*query, ("access_token", service.hs_token)])
        if not 200 <= answer.status < 300:
            raise Declined(answer)
        return answer

    async def _at(self, asked: "_Asked", path: str, query: Sequence[tuple[str, str]]) -> Incoming:
        assert self._outward is not None  # where there are services there is a way to them
        headers: Mapping[str, str] = {"Authorization": f"Bearer {asked.service.hs_token}"}
        if asked.body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        return await self._outward.ask(
            Outgoing(
                method=asked.method,
                url=f"{asked.service.url}{path}" + (f"?{urlencode(query)}" if query else ""),
                headers=headers,
                body=asked.body,
                most_bytes=MOST_ANSWERED,
                within_s=asked.within_s,
            )
        )


NO_SERVICES: Final = Questions(AppServices())
"""For a server without application services: there is nobody to ask."""


class _Asked(msgspec.Struct, frozen=True):
    """A question, wherever it is put."""

    service: AppService
    method: str
    body: bytes | None
    within_s: float


def _is_said_by_itself(method: str, answer: Incoming) -> bool:
    """Whether the service knows the path, and says by 404 that there is nothing: so with an errcode of its own."""
    if method != "GET" or answer.status != 404:
        return False
    try:
        said = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return False
    return isinstance(said, dict) and said.get("errcode", "M_UNRECOGNIZED") != "M_UNRECOGNIZED"
