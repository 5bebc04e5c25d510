// The least of a browser that the login page's script needs: told a script on the standard input, it fills in the form
// three times (refused, broken, let in) and writes down what was asked and shown.
"use strict";
const { script, words, query } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const asked = [], shown = [], given = [], submit = [];
const answers = [
  () => Promise.resolve({ ok: false, json: () => Promise.resolve({ errcode: "M_FORBIDDEN" }) }),
  () => Promise.reject(new Error("no network")),
  () => Promise.resolve({ ok: true, json: () => Promise.resolve({ user_id: "@alice:parta.test" }) }),
];
const told = { dataset: words, textContent: "" };
const elements = { user: { value: "alice" }, password: { value: "pass" }, enter: { disabled: false } };
const form = { elements, hidden: false, reset() {}, addEventListener: (name, act) => submit.push(act) };
const window = {
  location: { search: query },
  fetch(path, options) {
    asked.push([path, options.method, JSON.parse(options.body)]);
    return answers[asked.length - 1]();
  },
};
const document = { forms: [form], getElementById: () => told };
new Function("window", "document", script)(window, document);
window.matrixLogin.onLogin = (answer) => given.push(answer);
(async () => {
  for (const _ of answers) {
    submit[0]({ preventDefault() {} });
    while (elements.enter.disabled) { await new Promise(setImmediate); }
    shown.push(told.textContent);
  }
  process.stdout.write(JSON.stringify({ asked, told: shown, given }));
})();
