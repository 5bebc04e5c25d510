"""How endpoints ask for a proof of who is there, and answer when there is none.

Spec: client-server-api#user-interactive-api-in-the-rest-api
"""

from typing import Any

import msgspec

from homeserver.accounts.interactive import PASSWORD_FLOWS, Flows, Interactive, Operation, Proof, Unproved
from homeserver.api.errors import MatrixError
from homeserver.api.limits import address_key
from homeserver.api.route import Call


class ProofNeeded(MatrixError):
    """The client is told what to show; with an error only if what it showed was wrong."""

    def __init__(self, unproved: Unproved) -> None:
        errcode, error = unproved.fault or ("", "")
        super().__init__(401, errcode, error)
        self._unproved = unproved

    def body(self) -> dict[str, object]:
        """The JSON object of the answer."""
        unproved = self._unproved
        body: dict[str, object] = {"flows": [{"stages": list(flow)} for flow in unproved.flows], "params": {}}
        body["session"] = unproved.session
        if unproved.completed:
            body["completed"] = list(unproved.completed)
        return {**super().body(), **body} if unproved.fault else body


def build_operation(call: Call, name: str, flows: Flows = PASSWORD_FLOWS) -> Operation:
    """What the request would do: `name` is its method and path, parameters filled in."""
    user_id = call.asker
    return Operation(name=name, user_id=user_id, flows=flows, origin=address_key(call.ip))


async def prove(call: Call, interactive: Interactive, operation: Operation) -> Proof:
    """Take what the `auth` of the body shows.

    Raises:
        ProofNeeded: It is not enough.
    """
    body: Any = call.body
    request = msgspec.json.encode(msgspec.structs.replace(body, auth=None), order="sorted")
    try:
        return await interactive.prove(operation, body.auth, request)
    except Unproved as unproved:
        raise ProofNeeded(unproved) from None
