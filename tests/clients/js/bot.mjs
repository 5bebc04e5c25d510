// A bot on matrix-bot-sdk: it joins where it is invited and answers !hello. Prints one JSON line; fails loudly.
import assert from "node:assert/strict";
import sdk from "matrix-bot-sdk";

const { AutojoinRoomsMixin, LogLevel, LogService, MatrixAuth, MatrixClient, MemoryStorageProvider, SimpleFsStorageProvider } = sdk;
LogService.setLevel(LogLevel.ERROR);
const [baseUrl] = process.argv.slice(2);
const password = "a password that is long enough";
const LIMIT_MS = 30_000;
const auth = new MatrixAuth(baseUrl);

async function person(name) {
    return await auth.passwordRegister(name, password);
}

function happens(client, name, test) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${name} did not come`)), LIMIT_MS);
        client.on(name, (...words) => {
            if (!test(...words)) return;
            clearTimeout(timer);
            resolve(words);
        });
    });
}

const known = await person("bot_alice");
const alice = new MatrixClient(baseUrl, known.accessToken, new MemoryStorageProvider());
const registered = await person("bot_hello");
const bot = new MatrixClient(baseUrl, registered.accessToken, new MemoryStorageProvider());
AutojoinRoomsMixin.setupOnClient(bot);
const answered = [];
bot.on("room.message", async (roomId, event) => {
    if (event.sender === (await bot.getUserId()) || event.content?.body !== "!hello") return;
    answered.push(event.event_id);
    await bot.replyNotice(roomId, event, "Hello world!");
});
await bot.start();
await alice.start();

const joined = happens(bot, "room.join", () => true);
const roomId = await alice.createRoom({ preset: "private_chat", name: "5А", invite: [await bot.getUserId()] });
assert.equal((await joined)[0], roomId);

const heard = happens(alice, "room.message", (_room, event) => event.content.msgtype === "m.notice");
const asked = await alice.sendText(roomId, "!hello");
await alice.sendText(roomId, "something else");
const [, answer] = await heard;
assert.equal(answer.content["m.relates_to"]["m.in_reply_to"].event_id, asked);
assert.match(answer.content.body, /Hello world!$/);
assert.deepEqual((await bot.getJoinedRoomMembers(roomId)).sort(), [await alice.getUserId(), await bot.getUserId()].sort());
await bot.setDisplayName("Привет");
assert.equal((await alice.getUserProfile(await bot.getUserId())).displayname, "Привет");
const mxc = await bot.uploadContent(Buffer.from("plain words"), "text/plain", "words.txt");
assert.equal((await bot.downloadContent(mxc)).data.toString(), "plain words");
await bot.leaveRoom(roomId);
await assert.rejects(bot.sendText(roomId, "still here?"), (error) => error.errcode === "M_FORBIDDEN");
bot.stop();
alice.stop();
process.stdout.write(JSON.stringify({ answered: answered.length }) + "\n");
process.exit(0);
