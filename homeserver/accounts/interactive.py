"""User-interactive authentication: weighty requests are carried out once the person has proved who they are, again.

A session of proof is bound to one operation of one person, and in the end to one request: whoever repeats just that
request gets through again (its answer may have been lost), anything else needs a new proof. Sessions live in memory;
a client that loses one to a restart is asked anew.

Spec: client-server-api#user-interactive-authentication-api
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, TypeAlias

from msgspec import Struct

from federation.errors import Refused
from federation.ids import ServerName, UserID
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.login import find_local_user, find_named_user
from homeserver.accounts.registration import DUMMY, REGISTRATION_TOKEN, Registration
from homeserver.accounts.tokens import Mint
from homeserver.policy import Invalid

PASSWORD: Final = "m.login.password"
PASSWORD_FLOWS: Final = ((PASSWORD,),)

SESSIONS: Final = 10_000
LIFETIME_MS: Final = 30 * 60 * 1000

Flows: TypeAlias = Sequence[Sequence[str]]


class Auth(Struct, frozen=True):
    """The `auth` of a request: the stage it would complete, and what that stage needs.

    Spec: client-server-api#user-interactive-api-in-the-rest-api
    """

    type: str | None = None
    session: str | None = None
    identifier: dict[str, Any] | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is to be done: its name (method and path), by whom, the ways to prove it, and from which address.

    `user_id` is None where nobody has signed in.
    """

    name: str
    user_id: UserID | None
    flows: Flows
    origin: str


@dataclass(slots=True, kw_only=True)
class Proof:
    """What was proved so far: the session's key, its completed stages, who the person is, the token they have.

    `operation` is that of the request which began the session. `registered` is the account that was made by it, if it
    was to register.
    """

    key: str
    operation: Operation
    until_ms: int
    completed: list[str] = field(default_factory=list)
    user_id: UserID | None = None
    token: str | None = None
    request: bytes | None = None
    registered: UserID | None = None

    @property
    def due(self) -> set[str]:
        """The stages of which one comes next."""
        done = len(self.completed)
        flows = self.operation.flows
        return {flow[done] for flow in flows if len(flow) > done and list(flow[:done]) == self.completed}


class Unproved(Exception):
    """The request needs (more) proof: what the person is told to show, and what was wrong with what they showed."""

    def __init__(self, flows: Flows, proof: Proof, fault: tuple[str, str] | None) -> None:
        super().__init__("More proof is needed")
        self.flows = flows
        self.session = proof.key
        self.completed = tuple(proof.completed)
        self.fault = fault


class Interactive:
    """Asks for proofs, and takes them."""

    def __init__(
        self,
        accounts: Accounts,
        registration: Registration,
        mint: Mint,
        server_name: ServerName,
        now_ms: Callable[[], int],
    ) -> None:
        self._accounts = accounts
        self._registration = registration
        self._mint = mint
        self._server_name = server_name
        self._now_ms = now_ms
        self._proofs: dict[str, Proof] = {}
        self._stages: Mapping[str, Callable[[Operation, Auth, Proof], Awaitable[None]]] = {
            PASSWORD: self._check_password,
            DUMMY: self._check_nothing,
            REGISTRATION_TOKEN: self._check_token,
        }

    def find_registered(self, operation: Operation, auth: Auth | None) -> UserID | None:
        """The account that a request of this session has made already, whose answer may have been lost."""
        proof = self._proofs.get(auth.session) if auth is not None and auth.session is not None else None
        return proof.registered if proof is not None and proof.operation.name == operation.name else None

    async def prove(self, operation: Operation, auth: Auth | None, request: bytes) -> Proof:
        """Take what a request shows; `request` is its body without `auth`.

        Raises:
            Unproved: It is not enough, or not right.
        """
        if auth is None or (auth.type is None and auth.session is None):
            raise Unproved(operation.flows, self._begin(operation), None)
        proof = self._begin(operation) if auth.session is None else self._find_own(operation, auth.session)
        if proof is None:
            raise Unproved(operation.flows, self._begin(operation), ("M_UNKNOWN", "Unknown or old session"))
        if auth.type is not None and auth.type not in proof.completed:
            await self._take(operation, auth, proof)
        if tuple(proof.completed) not in map(tuple, operation.flows):
            raise Unproved(operation.flows, proof, None)
        digest = sha256(request).digest()
        if proof.request not in (None, digest):
            raise Unproved(
                operation.flows, self._begin(operation), ("M_FORBIDDEN", "This proof was for another request")
            )
        proof.request = digest
        return proof

    def use_up(self, proof: Proof) -> None:
        """Let a proof hold for nothing more, not even for the same request again."""
        self._proofs.pop(proof.key, None)

    def find_open(self, key: str, stage: str) -> Proof | None:
        """The session of that key in which that stage is due, or was completed: somebody may show it in a browser.

        Spec: client-server-api#fallback
        """
        proof = self._find(key)
        return proof if proof is not None and stage in {*proof.due, *proof.completed} else None

    async def complete(self, proof: Proof, auth: Auth, origin: str) -> None:
        """Complete a stage apart from the request, which is made again afterwards with nothing but the session.

        Raises:
            Unproved: What is shown is not right.

        Spec: client-server-api#fallback
        """
        await self._take(replace(proof.operation, origin=origin), auth, proof)

    async def _take(self, operation: Operation, auth: Auth, proof: Proof) -> None:
        if auth.type not in proof.due:
            raise Unproved(operation.flows, proof, ("M_UNRECOGNIZED", "This stage is not asked for, or not yet"))
        try:
            await self._stages[auth.type](operation, auth, proof)
        except Refused as refusal:
            raise Unproved(operation.flows, proof, ("M_FORBIDDEN", refusal.why)) from None
        if auth.type not in proof.completed:  # the same may have been shown twice at once
            proof.completed.append(auth.type)

    async def _check_password(self, operation: Operation, auth: Auth, proof: Proof) -> None:
        if auth.password is None or (auth.identifier is None and auth.user is None):
            raise Invalid("M_MISSING_PARAM", "A user and a password are needed")
        if auth.identifier is not None:
            user_id = find_named_user(auth.identifier, self._server_name)
        else:
            user_id = find_local_user(auth.user or "", self._server_name)
        if operation.user_id is not None and user_id != operation.user_id:
            user_id = None
        account = await self._accounts.prove(user_id, auth.password, operation.origin)
        if account.locked:
            raise Refused("login", "This account has been locked")
        proof.user_id = account.user_id

    async def _check_nothing(self, operation: Operation, auth: Auth, proof: Proof) -> None:
        """The dummy stage.

        Spec: client-server-api#dummy-auth
        """

    async def _check_token(self, operation: Operation, auth: Auth, proof: Proof) -> None:
        if auth.token is None:
            raise Invalid("M_MISSING_PARAM", "A registration token is needed")
        if not await self._registration.is_usable(auth.token):
            raise Refused("registration", "This registration token is not valid")
        proof.token = auth.token

    def _begin(self, operation: Operation) -> Proof:
        now = self._now_ms()
        while self._proofs:
            oldest = next(iter(self._proofs.values()))
            if oldest.until_ms > now and len(self._proofs) < SESSIONS:
                break
            del self._proofs[oldest.key]
        proof = Proof(key=self._mint.secret(), operation=operation, until_ms=now + LIFETIME_MS)
        self._proofs[proof.key] = proof
        return proof

    def _find(self, key: str) -> Proof | None:
        proof = self._proofs.get(key)
        return proof if proof is not None and proof.until_ms > self._now_ms() else None

    def _find_own(self, operation: Operation, key: str) -> Proof | None:
        proof = self._find(key)
        if proof is None:
            return None
        own = proof.operation
        return proof if (own.name, own.user_id) == (operation.name, operation.user_id) else None
