"""What operators see of files and do with them, in the form of Synapse's documented administration API.

Files are named by the server they are from and their media ID. Where several go at once, the answer says which.
"""

from collections.abc import Mapping
from typing import Any

from federation.ids import RoomID, ServerName, UserID, parse_mxc
from homeserver.api.errors import BadParam
from homeserver.api.query import Query
from homeserver.api.route import Call, Endpoint, Reply, Route
from homeserver.media.catalogue import Catalogue
from homeserver.media.keeping import Keeping
from homeserver.policy import NotFound
from homeserver.storage.media.keeping import ORDERS, USER_ORDERS, KeptMedia, Page, Span, Unused

_ADMIN = "/_synapse/admin/v1"
_MOST_LISTED, _MOST_OF_ROOM = 1000, 10_000


def routes(keeping: Keeping, catalogue: Catalogue, server_name: ServerName) -> tuple[Route, ...]:
    """The endpoints for operators about files."""
    deeds, looks = _Deeds(keeping, server_name), _Looks(catalogue, server_name)
    doors: tuple[tuple[str, str, Endpoint], ...] = (
        ("POST", "/media/quarantine/{serverName}/{mediaId}", deeds.quarantine),
        ("POST", "/media/unquarantine/{serverName}/{mediaId}", deeds.release),
        ("POST", "/room/{roomId}/media/quarantine", deeds.quarantine_room),
        ("POST", "/quarantine_media/{roomId}", deeds.quarantine_room),
        ("POST", "/user/{userId}/media/quarantine", deeds.quarantine_user),
        ("POST", "/media/protect/{mediaId}", deeds.protect),
        ("POST", "/media/unprotect/{mediaId}", deeds.unprotect),
        ("DELETE", "/media/{serverName}/{mediaId}", deeds.delete),
        ("POST", "/media/delete", deeds.delete_unused),
        ("POST", "/media/{serverName}/delete", deeds.delete_unused),
        ("DELETE", "/users/{userId}/media", deeds.delete_of_user),
        ("POST", "/purge_media_cache", deeds.purge_cache),
        ("GET", "/media/{serverName}/{mediaId}", looks.find),
        ("GET", "/room/{roomId}/media", looks.of_room),
        ("GET", "/users/{userId}/media", looks.of_user),
        ("GET", "/statistics/users/media", looks.usage),
    )
    return tuple(
        Route(method=method, path=_ADMIN + path, handle=handle, auth="admin", rate="other")
        for method, path, handle in doors
    )


class _Deeds:
    def __init__(self, keeping: Keeping, server_name: ServerName) -> None:
        self._keeping = keeping
        self._server_name = server_name

    async def quarantine(self, call: Call) -> Reply:
        await self._keeping.quarantine(call.caller.user_id, *_which(call.params))
        return {}

    async def release(self, call: Call) -> Reply:
        await self._keeping.release(call.caller.user_id, *_which(call.params))
        return {}

    async def quarantine_room(self, call: Call) -> Reply:
        room_id = RoomID(call.params["roomId"])
        return {"num_quarantined": await self._keeping.quarantine_room(call.caller.user_id, room_id)}

    async def quarantine_user(self, call: Call) -> Reply:
        user_id = UserID(call.params["userId"])
        return {"num_quarantined": await self._keeping.quarantine_user(call.caller.user_id, user_id)}

    async def protect(self, call: Call) -> Reply:
        await self._keeping.protect(call.caller.user_id, call.params["mediaId"], protected=True)
        return {}

    async def unprotect(self, call: Call) -> Reply:
        await self._keeping.protect(call.caller.user_id, call.params["mediaId"], protected=False)
        return {}

    async def delete(self, call: Call) -> Reply:
        origin, media_id = _which(call.params)
        if origin != self._server_name:
            raise NotFound
        deleted = await self._keeping.delete(call.caller.user_id, media_id)
        return {"deleted_media": deleted, "total": len(deleted)}

    async def delete_unused(self, call: Call) -> Reply:
        if call.params.get("serverName", self._server_name) != self._server_name:
            raise NotFound
        wanted = Unused(
            local=True,
            before_ms=_time(call.query, "before_ts"),
            larger_than=call.query.int("size_gt", 0),
            keep_pictures=call.query.flag("keep_profiles", default=True),
            keep_shown=False,
        )
        deleted = await self._keeping.delete_unused(call.caller.user_id, wanted)
        return {"deleted_media": deleted, "total": len(deleted)}

    async def delete_of_user(self, call: Call) -> Reply:
        page = _page(call.query, ORDERS, "created_ts", backwards=True)
        deleted = await self._keeping.delete_of_user(call.caller.user_id, UserID(call.params["userId"]), page)
        return {"deleted_media": deleted, "total": len(deleted)}

    async def purge_cache(self, call: Call) -> Reply:
        before_ms = _time(call.query, "before_ts")
        wanted = Unused(local=False, before_ms=before_ms, keep_pictures=False, keep_shown=False)
        return {"deleted": len(await self._keeping.delete_unused(call.caller.user_id, wanted))}


class _Looks:
    def __init__(self, catalogue: Catalogue, server_name: ServerName) -> None:
        self._catalogue = catalogue
        self._server_name = server_name

    async def find(self, call: Call) -> Reply:
        kept = await self._catalogue.find(call.caller.user_id, *_which(call.params))
        record = kept.record
        return {
            "media_info": {
                **_show(kept),
                "media_origin": None if record.origin == self._server_name else record.origin,
                "user_id": record.uploader,
                "filesystem_id": record.file_id,
                "url_cache": record.preview_of,
                "authenticated": True,
                "sha256": record.sha256,
            }
        }

    async def of_room(self, call: Call) -> Reply:
        """All of a room at once, as the form has it; past the most that is listed, `next_token` goes on."""
        after = (call.query.str("from") or "").partition("/")
        limit = min(call.query.int("limit", _MOST_OF_ROOM), _MOST_OF_ROOM)
        room_id, place = RoomID(call.params["roomId"]), (ServerName(after[0]), after[2])
        page = await self._catalogue.of_room(call.caller.user_id, room_id, place, limit)
        uris = [(origin == self._server_name, f"mxc://{origin}/{media_id}") for origin, media_id in page]
        more = {"next_token": "/".join(page[-1])} if page and len(page) == limit else {}
        return {
            "local": [uri for ours, uri in uris if ours],
            "remote": [uri for ours, uri in uris if not ours],
            **more,
        }

    async def of_user(self, call: Call) -> Reply:
        page = _page(call.query, ORDERS, "created_ts", backwards=True)
        kept, total = await self._catalogue.of_user(call.caller.user_id, UserID(call.params["userId"]), page)
        return {"media": [_show(each) for each in kept], "total": total, **_next(page, len(kept), total)}

    async def usage(self, call: Call) -> Reply:
        page = _page(call.query, USER_ORDERS, "user_id", backwards=False)
        span = Span(
            from_ms=call.query.int("from_ts", 0),
            until_ms=call.query.int("until_ts", 2**62),
            search=call.query.str("search_term", ""),
        )
        if span.until_ms <= span.from_ms:
            raise BadParam("until_ts must be behind from_ts")
        found, total = await self._catalogue.usage(call.caller.user_id, span, page)
        users = [
            {
                "user_id": usage.user_id,
                "displayname": usage.displayname,
                "media_count": usage.number,
                "media_length": usage.length,
            }
            for usage in found
        ]
        return {"users": users, "total": total, **_next(page, len(users), total)}


def _show(kept: KeptMedia) -> Mapping[str, Any]:
    record = kept.record
    return {
        "media_id": record.media_id,
        "media_type": record.content_type,
        "media_length": record.size,
        "upload_name": record.filename,
        "created_ts": record.created_ms,
        "last_access_ts": record.used_ms if record.used_ms > record.created_ms else None,
        "quarantined_by": kept.quarantined_by,
        "safe_from_quarantine": kept.protected,
    }


def _which(params: Mapping[str, str]) -> tuple[ServerName, str]:
    return parse_mxc(f"mxc://{params['serverName']}/{params['mediaId']}")


def _time(query: Query, name: str) -> int:
    query.need(name)
    return query.int(name, 0)


def _page(query: Query, orders: Mapping[str, str], order: str, *, backwards: bool) -> Page:
    """A page of a list; what is asked for without an order comes in the list's own way round."""
    named = query.choice("order_by", tuple(orders), order)
    own_way = "b" if backwards and query.str("order_by") is None else "f"
    return Page(
        order=named,
        backwards=query.choice("dir", ("f", "b"), own_way) == "b",
        start=query.int("from", 0),
        limit=min(query.int("limit", 100), _MOST_LISTED),
    )


def _next(page: Page, given: int, total: int) -> Mapping[str, int]:
    return {"next_token": page.start + given} if given and page.start + given < total else {}
