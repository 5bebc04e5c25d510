"""The pages on which people complete a stage of a proof in a browser, for clients that cannot show that stage.

A page says what is about to be confirmed and for whom: its address may have come from anybody. The key of the session
in that address is the right to complete the stage, and all that is told to somebody without it is that there is none.

Spec: client-server-api#fallback
"""

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Final

from homeserver.accounts.interactive import PASSWORD, Auth, Interactive, Proof, Unproved
from homeserver.accounts.passwords import PasswordsBusy
from homeserver.accounts.registration import DUMMY, REGISTRATION_TOKEN
from homeserver.api.errors import RateLimited
from homeserver.api.limits import address_key
from homeserver.api.pages import Language, Page, Words, answer_page, choose_language
from homeserver.api.query import Query
from homeserver.api.route import Call, Reply, Route

_FORM_LIMIT: Final = 1 << 14
_STAGES: Final = (PASSWORD, DUMMY, REGISTRATION_TOKEN)

_SCRIPT: Final = """
if (window.onAuthDone) {
  window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
  window.opener.postMessage("authDone", "*");
}
"""
"""Spec: client-server-api#fallback"""

_OPERATIONS: Final = (
    (re.compile("POST /register"), "register"),
    (re.compile("POST /account/password"), "password"),
    (re.compile("POST /account/deactivate"), "deactivate"),
    (re.compile("DELETE /devices/.*|POST /delete_devices"), "devices"),
    (re.compile("POST /login/get_token"), "let_in"),
    (re.compile("POST /keys/device_signing/upload"), "keys"),
)
"""What requests are for, by the name of their operation."""

_WORDS: Final[Mapping[Language, Words]] = {
    "en": {
        "title": "Confirm",
        "register": "You are about to make an account.",
        "password": "You are about to change the password of an account.",
        "deactivate": "You are about to close an account. It cannot be opened again.",
        "devices": "You are about to sign devices out.",
        "let_in": "You are about to let another device into your account.",
        "keys": "You are about to replace the keys by which others know you.",
        "something": "You are about to change something of an account.",
        "stop": "If you have not asked for this in your app, close this page.",
        "for": "Account:",
        "on": "Server:",
        "user_field": "User name",
        "password_field": "Password",
        "token_field": "Registration token",
        "go_on": "Confirm",
        "done_title": "Confirmed",
        "done": "You may close this page and go back to the app.",
        "wrong": "That was not right. Try again.",
        "later": "Too many tries. Wait a little and try again.",
        "gone_title": "Nothing to confirm here",
        "gone": "This address is not valid, or not any more. Go back to the app and begin again.",
    },
    "ru": {
        "title": "Подтверждение",
        "register": "Вы создаёте учётную запись.",
        "password": "Вы меняете пароль учётной записи.",
        "deactivate": "Вы закрываете учётную запись. Открыть её снова будет нельзя.",
        "devices": "Вы завершаете сеансы на устройствах.",
        "let_in": "Вы впускаете другое устройство в свою учётную запись.",
        "keys": "Вы заменяете ключи, по которым вас узнают другие.",
        "something": "Вы меняете что-то в учётной записи.",
        "stop": "Если вы не просили об этом в своём приложении, закройте эту страницу.",
        "for": "Учётная запись:",
        "on": "Сервер:",
        "user_field": "Имя пользователя",
        "password_field": "Пароль",
        "token_field": "Код для регистрации",
        "go_on": "Подтвердить",
        "done_title": "Подтверждено",
        "done": "Можно закрыть эту страницу и вернуться в приложение.",
        "wrong": "Неверно. Попробуйте ещё раз.",
        "later": "Слишком много попыток. Подождите немного и попробуйте снова.",
        "gone_title": "Здесь нечего подтверждать",
        "gone": "Этот адрес недействителен или уже не действует. Вернитесь в приложение и начните сначала.",
    },
}


def routes(interactive: Interactive, server_name: str) -> tuple[Route, ...]:
    """The page of each stage, and what is sent from it."""
    api = _Fallback(interactive, server_name)
    path, spec = "/_matrix/client/v3/auth/{authType}/fallback/web", "client-server-api#fallback"
    return (
        Route(method="GET", path=path, handle=api.show, auth="none", rate="other", spec=spec),
        Route(method="POST", path=path, handle=api.take, auth="none", rate="login", spec=spec, body_limit=_FORM_LIMIT),
    )


class _Fallback:
    def __init__(self, interactive: Interactive, server_name: str) -> None:
        self._interactive = interactive
        self._server_name = server_name

    async def show(self, call: Call) -> Reply:
        return answer_page(self._build_page(call, Query()))

    async def take(self, call: Call) -> Reply:
        form = Query(call.request.body())
        proof, stage = self._find(call, form), call.params["authType"]
        fault = None
        if proof is not None and stage not in proof.completed:
            try:
                await self._interactive.complete(proof, _read_auth(stage, form, proof), address_key(call.ip))
            except Unproved:
                fault = "wrong"
            except (PasswordsBusy, RateLimited):
                fault = "later"
        return answer_page(self._build_page(call, form, fault))

    def _find(self, call: Call, form: Query) -> Proof | None:
        key, stage = call.query.str("session") or form.str("session", ""), call.params["authType"]
        return self._interactive.find_open(key, stage) if stage in _STAGES else None

    def _build_page(self, call: Call, form: Query, fault: str | None = None) -> Page:
        language = choose_language(call.header("Accept-Language"))
        words, proof = _WORDS[language], self._find(call, form)
        if proof is None:
            return Page(language=language, title=words["gone_title"], body=_paragraph(words["gone"]), status=404)
        stage = call.params["authType"]
        if stage in proof.completed:
            return Page(language=language, title=words["done_title"], body=_paragraph(words["done"]), script=_SCRIPT)
        return Page(
            language=language,
            title=words["title"],
            body=self._build_form(words, stage, proof, fault),
            status={None: 200, "wrong": 403, "later": 429}[fault],
        )

    def _build_form(self, words: Words, stage: str, proof: Proof, fault: str | None) -> str:
        operation = proof.operation
        about = next((kind for pattern, kind in _OPERATIONS if pattern.fullmatch(operation.name)), "something")
        asker = operation.user_id
        whose = f"{words['on']} {self._server_name}" if asker is None else f"{words['for']} {asker}"
        told = _paragraph(words[about]) + _paragraph(words["stop"]) + _paragraph(whose)
        told += f'<p role="alert">{escape(words[fault]) if fault else ""}</p>\n'
        button = f"<button>{escape(words['go_on'])}</button>"
        return f'{told}<form method="post">{_FIELDS[stage](words, asker is None)}{button}</form>'


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"


def _field(name: str, words: Words, attributes: str) -> str:
    label = f'<label for="{name}">{escape(words[f"{name}_field"])}</label>'
    return f'{label}<input id="{name}" name="{name}" {attributes} required>'


def _password_fields(words: Words, with_user: bool) -> str:
    user = _field("user", words, 'autocomplete="username" autocapitalize="none" spellcheck="false"')
    return (user if with_user else "") + _field("password", words, 'type="password" autocomplete="current-password"')


_FIELDS: Final[Mapping[str, Callable[[Words, bool], str]]] = {
    PASSWORD: _password_fields,
    DUMMY: lambda words, with_user: "",
    REGISTRATION_TOKEN: lambda words, with_user: _field("token", words, 'autocomplete="off" spellcheck="false"'),
}


def _read_auth(stage: str, form: Query, proof: Proof) -> Auth:
    """What the form shows; who has signed in need not say who they are."""
    return Auth(
        type=stage,
        user=proof.operation.user_id or form.str("user", ""),
        password=form.str("password", ""),
        token=form.str("token", ""),
    )
