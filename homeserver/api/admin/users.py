"""Accounts: listed, shown, made, changed and closed."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from homeserver.accounts.administration import AccountChange, Administration
from homeserver.accounts.registration import Registration
from homeserver.api.admin.pages import admin_route, is_backwards, maybe_flag, next_of, page_of, person_of
from homeserver.api.route import Answer, Call, Reply, Route
from homeserver.policy import NotFound
from homeserver.storage.accountlist import ORDERS, AccountQuery, AccountRecord


class AccountBody(Struct, frozen=True):
    """An account as it is to be. Addresses and identities of elsewhere are kept for nobody, and so not taken."""

    password: str | None = None
    logout_devices: bool | None = None
    displayname: str | None = None
    avatar_url: str | None = None
    admin: bool | None = None
    locked: bool | None = None
    deactivated: bool | None = None
    user_type: str | None | UnsetType = UNSET

    def read(self) -> AccountChange:
        """The change that is meant."""
        return AccountChange(
            password=self.password or None,
            logout_devices=self.logout_devices is not False,
            displayname=self.displayname,
            avatar_url=self.avatar_url,
            admin=self.admin,
            locked=self.locked,
            deactivated=self.deactivated,
            user_type=None if self.user_type is UNSET else self.user_type or "",
        )


class Deactivation(Struct, frozen=True):
    """How an account is to be closed."""

    erase: bool = False


class NewPassword(Struct, frozen=True):
    """The password that somebody is to have."""

    new_password: str
    logout_devices: bool = True


class Powers(Struct, frozen=True):
    """Whether somebody is to be an operator."""

    admin: bool


class LoginBody(Struct, frozen=True):
    """Until when a token is to hold, in milliseconds; None: without end."""

    valid_until_ms: int | None = None


def routes(administration: Administration, registration: Registration) -> tuple[Route, ...]:
    """The endpoints of accounts."""
    api = _UsersAPI(administration, registration)
    one = "v1/users/{userId}"
    return (
        admin_route("GET", "v2/users", api.list_v2),
        admin_route("GET", "v3/users", api.list_v3),
        admin_route("GET", "v2/users/{userId}", api.see),
        admin_route("PUT", "v2/users/{userId}", api.put, AccountBody),
        admin_route("GET", f"{one}/admin", api.see_admin),
        admin_route("PUT", f"{one}/admin", api.set_admin, Powers),
        admin_route("POST", f"{one}/login", api.log_in_as, LoginBody, body_optional=True),
        admin_route("POST", "v1/deactivate/{userId}", api.deactivate, Deactivation, body_optional=True),
        admin_route("POST", "v1/reset_password/{userId}", api.reset_password, NewPassword),
        admin_route("GET", "v1/username_available", api.available),
        admin_route("GET", "v1/threepid/{medium}/users/{address}", api.find_elsewhere),
        admin_route("GET", "v1/auth_providers/{provider}/users/{externalId}", api.find_elsewhere),
        admin_route("GET", "v1/experimental_features/{userId}", _see_experiments),
    )


async def _see_experiments(call: Call) -> Reply:
    """Nobody takes part in any: there are none. Panels ask on the page of each person."""
    person_of(call)
    return {"features": {}}


class _UsersAPI:
    def __init__(self, administration: Administration, registration: Registration) -> None:
        self._administration = administration
        self._registration = registration

    async def list_v2(self, call: Call) -> Reply:
        """The older list leaves out closed and locked accounts unless they are asked for."""
        including_closed, including_locked = call.query.flag("deactivated"), call.query.flag("locked")
        return await self._list(call, None if including_closed else False, None if including_locked else False)

    async def list_v3(self, call: Call) -> Reply:
        including_locked = call.query.flag("locked")
        return await self._list(call, maybe_flag(call, "deactivated"), None if including_locked else False)

    async def _list(self, call: Call, deactivated: bool | None, locked: bool | None) -> Reply:
        page = page_of(call)
        query = AccountQuery(
            name=call.query.str("name"),
            user_id=call.query.str("user_id"),
            guests=None if call.query.flag("guests", True) else False,
            admins=maybe_flag(call, "admins"),
            deactivated=deactivated,
            locked=locked,
            without_types=call.query.list("not_user_type")[:10],
            order=call.query.choice("order_by", tuple(ORDERS), "name"),
            backwards=is_backwards(call),
            start=page.start,
            limit=page.limit,
        )
        records, total = await self._administration.load(call.caller.user_id, query)
        answer: dict[str, object] = {"users": [_list_entry(record) for record in records], "total": total}
        following = next_of(page, len(records), total)
        return answer if following is None else answer | {"next_token": str(following)}

    async def see(self, call: Call) -> Reply:
        return _show(await self._administration.see(call.caller.user_id, person_of(call)))

    async def put(self, call: Call) -> Reply:
        body: AccountBody = call.body
        record, is_new = await self._administration.put(call.caller.user_id, person_of(call), body.read())
        return Answer(status=201 if is_new else 200, body=_show(record))

    async def see_admin(self, call: Call) -> Reply:
        return {"admin": (await self._administration.see(call.caller.user_id, person_of(call))).admin}

    async def set_admin(self, call: Call) -> Reply:
        return await self._change(call, AccountChange(admin=call.body.admin))

    async def reset_password(self, call: Call) -> Reply:
        body: NewPassword = call.body
        return await self._change(call, AccountChange(password=body.new_password, logout_devices=body.logout_devices))

    async def deactivate(self, call: Call) -> Reply:
        body: Deactivation = call.body
        await self._administration.deactivate(call.caller.user_id, person_of(call), erase=body.erase)
        return {"id_server_unbind_result": "success"}

    async def log_in_as(self, call: Call) -> Reply:
        body: LoginBody = call.body
        token = await self._administration.log_in_as(call.caller.user_id, person_of(call), body.valid_until_ms)
        return {"access_token": token}

    async def available(self, call: Call) -> Reply:
        await self._registration.check_free(self._registration.parse_name(call.query.need("username")))
        return {"available": True}

    async def find_elsewhere(self, call: Call) -> Reply:
        raise NotFound("User not found")

    async def _change(self, call: Call, change: AccountChange) -> Reply:
        await self._administration.change(call.caller.user_id, person_of(call), change)
        return {}


def _list_entry(record: AccountRecord) -> dict[str, Any]:
    return {
        "name": record.user_id,
        "is_guest": record.kind == "guest",
        "admin": record.admin,
        "user_type": record.user_type,
        "deactivated": record.deactivated,
        "erased": record.erased,
        "shadow_banned": False,
        "displayname": record.displayname,
        "avatar_url": record.avatar_url,
        "creation_ts": record.created_ms,
        "last_seen_ts": record.last_seen_ms,
        "locked": record.locked,
        "suspended": record.suspended,
    }


def _show(record: AccountRecord) -> dict[str, Any]:
    """An account by itself; here the time of its making is in seconds, as tools expect."""
    return _list_entry(record) | {
        "creation_ts": record.created_ms // 1000,
        "appservice_id": record.appservice_id,
        "threepids": [],
        "external_ids": [],
        "consent_server_notice_sent": None,
        "consent_version": None,
        "consent_ts": None,
    }
