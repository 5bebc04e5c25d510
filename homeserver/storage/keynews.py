"""What other servers are told of the keys of ours, in the unit of work that changes them.

The updates of a person are a chain: each names the one before. A server that has missed one asks for the whole list.
A device without keys is one, too. Names of devices are nobody's business elsewhere.

Spec: server-server-api#device-management, server-server-api#end-to-end-encryption
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from federation.ids import DeviceID, UserID
from homeserver.storage.database import Txn
from homeserver.storage.outbox import load_servers_encrypting
from homeserver.storage.waiting import EDU, append_edu


def tell_devices(txn: Txn, user_id: UserID, device_ids: Sequence[DeviceID], versions: Sequence[int]) -> None:
    """Tell of devices of somebody of ours that are changed or gone: each makes the next of `versions`, of which the
    first is the one before all.
    """
    servers = load_servers_encrypting(txn, user_id)
    for device_id, before, version in zip(device_ids, versions, versions[1:], strict=False) if servers else ():
        content = {
            "user_id": user_id,
            "device_id": device_id,
            "stream_id": version,
            "prev_id": [before] if before else [],
        }
        row = txn.one(
            "SELECT k.keys FROM devices d LEFT JOIN device_keys k"
            " ON k.user_id = d.user_id AND k.device_id = d.device_id WHERE d.user_id = ? AND d.device_id = ?",
            (user_id, device_id),
        )
        if row is None:
            content["deleted"] = True
        elif row[0] is not None:
            content["keys"] = _sign(txn, user_id, device_id, row[0])
        append_edu(txn, EDU("m.device_list_update", content, f"device {user_id} {device_id}"), servers, 0)


def tell_signing_keys(txn: Txn, user_id: UserID) -> None:
    """Tell of the cross-signing keys of somebody of ours, as far as others may see them."""
    servers = load_servers_encrypting(txn, user_id)
    if not servers:
        return
    content: dict[str, Any] = {"user_id": user_id}
    rows = txn.all(
        "SELECT usage, public_key, key FROM cross_signing_keys"
        " WHERE user_id = ? AND usage IN ('master', 'self_signing')",
        (user_id,),
    )
    for usage, public_key, key in rows:
        content[f"{usage}_key"] = _sign(txn, user_id, public_key, key)
    if rows:
        append_edu(txn, EDU("m.signing_key_update", content, f"signing {user_id}"), servers, 0)


def _sign(txn: Txn, user_id: UserID, key_id: str, raw: bytes) -> dict[str, Any]:
    """A key as it was uploaded, with the signatures by its owner that came later."""
    signed: dict[str, Any] = msgspec.json.decode(raw)
    rows = txn.all(
        "SELECT signer_key_id, signature FROM key_signatures WHERE user_id = ? AND key_id = ? AND signer_id = ?",
        (user_id, key_id, user_id),
    )
    if rows:
        signed.setdefault("signatures", {}).setdefault(user_id, {}).update(dict(rows))
    return signed
