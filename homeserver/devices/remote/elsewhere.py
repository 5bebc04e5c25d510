"""Keys of people of other servers, for ours: from the lists that are kept, or asked for.

Spec: server-server-api#end-to-end-encryption
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.interfaces import IReactorTime

from federation.errors import PeerRefused, Refused, RemoteFault
from federation.ids import DeviceID, ServerName, UserID, server_of
from federation.transport.tasks import side_by_side
from homeserver.devices.keys import ClaimAnswer, KeyAnswer, add_cross_signing_key
from homeserver.devices.remote.asking import Asking, Claims, Wanted, wait_at_most
from homeserver.devices.remote.lists import RemoteLists
from homeserver.storage import keys, remotedevices
from homeserver.storage.database import Database, Txn
from homeserver.storage.keys import Signature

V = TypeVar("V")

MOST_LISTS: Final = 20
"""How many people's lists are asked for one by one; of more the keys are asked for together, the lists later."""


_OUT_OF_REACH: Final = {"errcode": "M_UNKNOWN", "error": "The server cannot be reached"}


class OutOfReach:
    """Where no other server is talked to."""

    def __init__(self, server_name: ServerName) -> None:
        self._server_name = server_name

    async def query(self, _asker: UserID, wanted: Mapping[UserID, object], _timeout_s: float) -> KeyAnswer:
        """Nobody's keys."""
        return KeyAnswer(failures=self._fail(wanted))

    async def claim(self, wanted: Mapping[UserID, object], _timeout_s: float) -> ClaimAnswer:
        """No keys."""
        return ClaimAnswer(failures=self._fail(wanted))

    def _fail(self, people: Iterable[UserID]) -> dict[ServerName, dict[str, Any]]:
        return {server: _OUT_OF_REACH for server in map(server_of, people) if server != self._server_name}


class KeysElsewhere:
    """Finds and claims keys of people of other servers."""

    def __init__(self, lists: RemoteLists, asking: Asking, database: Database, clock: IReactorTime) -> None:
        self._lists = lists
        self._asking = asking
        self._database = database
        self._clock = clock

    async def query(self, asker: UserID, wanted: Mapping[UserID, Sequence[DeviceID]], timeout_s: float) -> KeyAnswer:
        """Give the keys of people's devices, and their cross-signing keys.

        What is kept and fresh is given as it is; for the others their servers are asked, all at once. Of a server that
        does not answer in time, what is kept is given beside the failure.
        """
        theirs = {person: wanted[person] for person in wanted if self._lists.is_theirs(person)}
        answer = KeyAnswer()
        if not theirs:
            return answer
        fresh, near = await self._database.read(_sort, theirs)
        missing = _by_server({person: ids for person, ids in theirs.items() if person not in fresh})
        asking = [self._ask(server, some, near, timeout_s) for server, some in missing.items()]
        asked = await side_by_side(asking)
        answer.add(await self._database.read(_read_lists, asker, {p: theirs[p] for p in theirs if p in near}))
        for found in asked:
            answer.add(found)
        return answer

    async def claim(self, wanted: Claims, timeout_s: float) -> ClaimAnswer:
        """Take one-time keys of devices of people elsewhere.

        Spec: client-server-api#post_matrixclientv3keysclaim
        """
        theirs = {person: wanted[person] for person in wanted if self._lists.is_theirs(person)}
        answer = ClaimAnswer()

        async def claim(server: ServerName, some: Claims) -> None:
            fault = await self._try(lambda: self._claim(server, some, timeout_s, answer), timeout_s)
            if fault is not None:
                answer.failures[server] = fault

        await side_by_side([claim(server, some) for server, some in _by_server(theirs).items()])
        return answer

    async def _claim(self, server: ServerName, wanted: Claims, timeout_s: float, answer: ClaimAnswer) -> None:
        answer.keys.update(await self._asking.claim(server, wanted, max(timeout_s, 1)))

    async def _ask(self, server: ServerName, wanted: Wanted, near: Collection[UserID], timeout_s: float) -> KeyAnswer:
        """What a server answers of its people; lists of those in rooms with ours are kept, and not in the answer."""
        found = KeyAnswer()
        listed = [person for person in wanted if person in near]
        alone = len(listed) <= MOST_LISTS
        asked = {person: ids for person, ids in wanted.items() if not (alone and person in near)}

        async def ask() -> None:
            works = [self._list(person, wanted[person], found) for person in listed] if alone else []
            await side_by_side([*works, *([self._query(server, asked, found)] if asked else [])])

        fault = await self._try(ask, timeout_s)
        if fault is not None:
            found.failures[server] = fault
        if not alone:
            self._lists.renew_soon(listed)
        return found

    async def _list(self, person: UserID, device_ids: Sequence[DeviceID], found: KeyAnswer) -> None:
        """Have a list asked for; where a server has no lists the keys."""
        try:
            await self._lists.renew(person)
        except PeerRefused as fault:
            if fault.status not in (403, 404):
                raise
            await self._query(server_of(person), {person: device_ids}, found)

    async def _query(self, server: ServerName, wanted: Wanted, found: KeyAnswer) -> None:
        found.add(await self._asking.query(server, wanted, 30))

    async def _try(self, work: Callable[[], Awaitable[None]], timeout_s: float) -> dict[str, Any] | None:
        """Do it in time; gives what is told of the failure, if it fails."""

        async def run() -> None:
            await work()

        try:
            await wait_at_most(self._clock, timeout_s, run())
        except TooLate:
            return {"errcode": "M_UNKNOWN", "error": "The server did not answer in time"}
        except PeerRefused as fault:
            return {"errcode": fault.errcode, "error": fault.why}
        except (RemoteFault, Refused):
            return _OUT_OF_REACH
        return None


def _by_server(wanted: Mapping[UserID, V]) -> dict[ServerName, dict[UserID, V]]:
    by_server: dict[ServerName, dict[UserID, V]] = {}
    for person, value in wanted.items():
        by_server.setdefault(server_of(person), {})[person] = value
    return by_server


def _sort(txn: Txn, people: Iterable[UserID]) -> tuple[set[UserID], set[UserID]]:
    """Those whose lists are fresh, and those who are in a room with one of ours."""
    some = list(people)
    return remotedevices.load_fresh(txn, some), remotedevices.load_in_company(txn, some)


def _read_lists(txn: Txn, asker: UserID, wanted: Wanted) -> KeyAnswer:
    """The keys that are kept here, with the asker's signatures on them."""
    answer = KeyAnswer()
    lists = remotedevices.load_lists(txn, wanted)
    for person, devices in lists.items():
        some = set(wanted[person]) or devices.keys()
        answer.devices[person] = {each: msgspec.json.decode(devices[each]) for each in devices if each in some}
    signatures: dict[tuple[UserID, str], list[Signature]] = {}
    for signature in keys.load_signatures(txn, lists, asker):
        signatures.setdefault((signature.user_id, signature.key_id), []).append(signature)
    for key in keys.load_cross_signing_keys(txn, lists):
        add_cross_signing_key(answer, asker, key, signatures.get((key.user_id, key.public_key), ()))
    return answer
