"""The page by which clients let people log in that cannot show how themselves.

What the page was asked for stays in the browser: its script reads the query, and nothing of that is put into the page.

Spec: client-server-api#login-fallback
"""

from collections.abc import Mapping
from html import escape
from typing import Final

from federation.ids import ServerName
from homeserver.api.pages import Language, Page, Words, answer_page, choose_language
from homeserver.api.route import Call, Reply, Route

_WORDS: Final[Mapping[Language, Words]] = {
    "en": {
        "title": "Sign in",
        "user": "User name",
        "password": "Password",
        "enter": "Sign in",
        "done": "You are signed in. You may go back to the app.",
        "wrong": "Wrong user name or password.",
        "locked": "This account has been locked.",
        "later": "Too many tries. Wait a little and try again.",
        "failed": "That did not work. Try again later.",
        "script": "This page needs JavaScript.",
    },
    "ru": {
        "title": "Вход",
        "user": "Имя пользователя",
        "password": "Пароль",
        "enter": "Войти",
        "done": "Вы вошли. Можно вернуться в приложение.",
        "wrong": "Неверное имя пользователя или пароль.",
        "locked": "Эта учётная запись заблокирована.",
        "later": "Слишком много попыток. Подождите немного и попробуйте снова.",
        "failed": "Не получилось. Попробуйте позже.",
        "script": "Эта страница не работает без JavaScript.",
    },
}
_TOLD: Final = ("done", "wrong", "locked", "later", "failed")

_SCRIPT: Final = """
(function () {
  "use strict";
  var form = document.forms[0], told = document.getElementById("told"), words = told.dataset;
  var kinds = {M_FORBIDDEN: "wrong", M_USER_LOCKED: "locked", M_LIMIT_EXCEEDED: "later"};
  var asked = new URLSearchParams(window.location.search);
  window.matrixLogin = window.matrixLogin || {};

  function build() {
    var body = {type: "m.login.password", password: form.elements.password.value};
    body.identifier = {type: "m.id.user", user: form.elements.user.value};
    ["device_id", "initial_device_display_name"].forEach(function (name) {
      if (asked.has(name)) { body[name] = asked.get(name); }
    });
    if (asked.has("refresh_token")) { body.refresh_token = asked.get("refresh_token") === "true"; }
    return JSON.stringify(body);
  }

  function settle(reply) {
    return reply.json().then(function (answer) {
      if (!reply.ok) { throw kinds[answer.errcode] || "failed"; }
      form.hidden = true;
      form.reset();
      told.textContent = words.done;
      if (window.matrixLogin.onLogin) { window.matrixLogin.onLogin(answer); }
    });
  }

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    told.textContent = "";
    form.elements.enter.disabled = true;
    window.fetch("/_matrix/client/v3/login", {
      method: "POST", headers: {"Content-Type": "application/json"}, body: build(), credentials: "omit"
    }).then(settle).catch(function (fault) {
      told.textContent = words[fault] || words.failed;
    }).then(function () { form.elements.enter.disabled = false; });
  });
}());
"""


def routes(server_name: ServerName) -> tuple[Route, ...]:
    """The page at its address."""

    async def show(call: Call) -> Reply:
        return answer_page(pages[choose_language(call.header("Accept-Language"))])

    pages = {language: _build_page(language, server_name) for language in _WORDS}
    return (
        Route(
            method="GET",
            path="/_matrix/static/client/login/",
            handle=show,
            auth="none",
            rate="other",
            spec="client-server-api#login-fallback",
        ),
    )


def _build_page(language: Language, server_name: ServerName) -> Page:
    words = {name: escape(text) for name, text in _WORDS[language].items()}
    told = " ".join(f'data-{name}="{words[name]}"' for name in _TOLD)
    body = (
        f"<p>{escape(server_name)}</p><noscript><p>{words['script']}</p></noscript>\n"
        f'<p id="told" role="alert" {told}></p>\n<form method="post">'
        f'<label for="user">{words["user"]}</label>'
        '<input id="user" name="user" autocomplete="username" autocapitalize="none" spellcheck="false" required>'
        f'<label for="password">{words["password"]}</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required>'
        f'<button name="enter">{words["enter"]}</button></form>'
    )
    return Page(language=language, title=_WORDS[language]["title"], body=body, script=_SCRIPT, asks=True)
