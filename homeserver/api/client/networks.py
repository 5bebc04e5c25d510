"""Third-party networks: what the application services that bridge to them know of them.

A service that does not answer is left out. Without services, and for whom the policy lets nobody ask, there is none.

Spec: client-server-api#third-party-networks
"""

from collections.abc import Sequence
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote

import msgspec

from federation.transport.tasks import side_by_side
from homeserver.accounts.appservices.questions import Questions
from homeserver.accounts.appservices.registry import AppService
from homeserver.api.route import Call, Reply, Route
from homeserver.policy import AskNetworks, NotFound, Policy, allows
from homeserver.rooms.networks import build_instance_id

_THIRD: str = "/_matrix/client/v3/thirdparty"

Fields: TypeAlias = Sequence[tuple[str, str]]


def routes(questions: Questions, policy: Policy) -> tuple[Route, ...]:
    """The endpoints of third-party networks."""
    api = _NetworksAPI(questions, policy)
    return (
        _route("protocols", api.protocols),
        _route("protocol/{protocol}", api.protocol),
        _route("location", api.of_alias),
        _route("location/{protocol}", api.locations),
        _route("user", api.of_user),
        _route("user/{protocol}", api.users),
    )


def _route(place: str, handle: Any) -> Route:
    anchor = "get_matrixclientv3thirdparty" + place.replace("/{protocol}", "protocol")
    return Route(
        method="GET", path=f"{_THIRD}/{place}", handle=handle, rate="other", spec=f"client-server-api#{anchor}"
    )


class _NetworksAPI:
    def __init__(self, questions: Questions, policy: Policy) -> None:
        self._questions = questions
        self._policy = policy

    async def protocols(self, call: Call) -> Reply:
        services = await self._find_services(call, None)
        named = sorted({protocol for service in services for protocol in service.protocols})
        found = {protocol: await self._describe(protocol, services) for protocol in named}
        return {protocol: described for protocol, described in found.items() if described is not None}

    async def protocol(self, call: Call) -> Reply:
        protocol = call.params["protocol"]
        described = await self._describe(protocol, await self._find_services(call, protocol))
        if described is None:
            raise _no_network()
        return described

    async def locations(self, call: Call) -> Reply:
        return await self._of_protocol(call, "location")

    async def users(self, call: Call) -> Reply:
        return await self._of_protocol(call, "user")

    async def of_alias(self, call: Call) -> Reply:
        return await self._of_all(call, "location", "alias")

    async def of_user(self, call: Call) -> Reply:
        return await self._of_all(call, "user", "userid")

    async def _of_protocol(self, call: Call, what: str) -> Reply:
        """What all services of a protocol find by the fields that were given."""
        protocol = call.params["protocol"]
        fields = parse_qsl(call.request.query.decode("utf-8", "replace"), keep_blank_values=True)
        fields = [(name, value) for name, value in fields if name != "access_token"]
        services = await self._find_services(call, protocol)
        found = await self._gather(services, f"{what}/{quote(protocol, safe='')}", fields)
        if not found:
            raise _no_network()
        return msgspec.json.encode(found)

    async def _of_all(self, call: Call, what: str, name: str) -> Reply:
        """What any service knows of an alias or a user here."""
        named = call.query.need(name)
        found = await self._gather(await self._find_services(call, None), what, [(name, named)])
        return msgspec.json.encode(found)

    async def _find_services(self, call: Call, protocol: str | None) -> list[AppService]:
        services = self._questions.of_protocol(protocol)
        is_open = bool(services) and await allows(self._policy, AskNetworks(by=call.caller.user_id))
        return services if is_open else []

    async def _describe(self, protocol: str, services: Sequence[AppService]) -> dict[str, Any] | None:
        """A protocol with the instances of all its services; the rest is as the first of them says."""
        asked = [service for service in services if protocol in service.protocols]
        said = await self._ask(asked, f"protocol/{quote(protocol, safe='')}", ())
        known = [(service, answer) for service, answer in zip(asked, said, strict=True) if isinstance(answer, dict)]
        if not known:
            return None
        instances = [
            {**instance, "instance_id": build_instance_id(service, str(instance.get("network_id")))}
            for service, answer in known
            for instance in _dicts(answer.get("instances"))
        ]
        return {**known[0][1], "instances": instances}

    async def _gather(self, services: Sequence[AppService], what: str, fields: Fields) -> list[dict[str, Any]]:
        return [each for answer in await self._ask(services, what, fields) for each in _dicts(answer)]

    async def _ask(self, services: Sequence[AppService], what: str, fields: Fields) -> list[Any]:
        """What each service says, all asked at once."""
        return await side_by_side(self._questions.look_up(service, what, fields) for service in services)


def _dicts(answer: Any) -> list[dict[str, Any]]:
    return [each for each in answer if isinstance(each, dict)] if isinstance(answer, list) else []


def _no_network() -> NotFound:
    return NotFound("This server is bridged to no such network")
