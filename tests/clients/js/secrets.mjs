// Two people on matrix-js-sdk's rust crypto: an encrypted room, key backup, a dehydrated device, verification by emoji.
// Prints one JSON line; fails loudly.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { ClientEvent, EventType, MatrixEventEvent, Method, Preset } from "matrix-js-sdk";
import { CryptoEvent, VerificationRequestEvent, VerifierEvent, VerificationPhase } from "matrix-js-sdk/lib/crypto-api/index.js";
import { LIMIT_MS, device as signIn, happens, password, register, start, tell } from "./people.mjs";

const told = {};

// For what the client tells nobody of: looks again and again until it is so.
async function until(what, test) {
    for (const ends = Date.now() + LIMIT_MS; Date.now() < ends; await pause(50)) if (await test()) return;
    throw new Error(`${what} did not come about`);
}

const recoveryKeys = {};

async function device(name) {
    const client = await signIn(name, {
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], recoveryKeys[name].privateKey],
        },
    });
    await client.initRustCrypto({ useIndexedDB: false });
    return start(client, { initialSyncLimit: 5, lazyLoadMembers: true });
}

async function person(name) {
    await register(name);
    return device(name);
}

// A client sends no keys to a device that it does not know, and drops what such a one asks; it learns of them by and by.
function meet(client, other) {
    const [user, id] = [other.getUserId(), other.getDeviceId()];
    const known = async () => (await client.getCrypto().getUserDeviceInfo([user], true)).get(user)?.has(id);
    return until(`what ${client.getDeviceId()} knows of ${id}`, known);
}

let proofs = 0;
async function prove(makeRequest) {
    try {
        await makeRequest(null);
    } catch (fault) {
        assert.equal(fault.httpStatus, 401);
        proofs += 1;
        await makeRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: "secret_alice" },
            password,
            session: fault.data.session,
        });
    }
}

function isReadable(event, body) {
    return event.getWireType() === EventType.RoomMessageEncrypted && event.getContent().body === body;
}

// The client announces an event once it is decrypted, at once or when its key comes.
function reads(client, body) {
    return happens(client, MatrixEventEvent.Decrypted, (event) => isReadable(event, body));
}

const alice = await person("secret_alice");
const bob = await person("secret_bob");
const crypto = alice.getCrypto();

await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: prove });
recoveryKeys.secret_alice = await crypto.createRecoveryKeyFromPassphrase();
await crypto.bootstrapSecretStorage({
    createSecretStorageKey: async () => recoveryKeys.secret_alice,
    setupNewSecretStorage: true,
    setupNewKeyBackup: true,
});
await until("cross-signing", () => crypto.isCrossSigningReady());
await until("secret storage", () => crypto.isSecretStorageReady());

// Two people talk.
const invited = happens(bob, ClientEvent.Room, (room) => room.getMyMembership() === "invite");
const { room_id: roomId } = await alice.createRoom({
    preset: Preset.PrivateChat,
    invite: [bob.getUserId()],
    initial_state: [{ type: EventType.RoomEncryption, state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
});
await invited;
await bob.joinRoom(roomId);
for (const client of [alice, bob]) {
    await until("the room", () => client.getRoom(roomId)?.hasEncryptionStateEvent());
    await until("the join", () => client.getRoom(roomId).getMember(bob.getUserId())?.membership === "join");
}
await meet(alice, bob);
await meet(bob, alice);
const lines = [];
for (let n = 0; n < 6; n++) {
    const [from, to] = n % 2 ? [bob, alice] : [alice, bob];
    lines.push(`строка ${n}`);
    const read = reads(to, lines.at(-1));
    await from.sendTextMessage(roomId, lines.at(-1));
    await read;
}
told.said = lines.length;
// The client remembers what it was told of the backup when that was new; ask anew.
await until("the backup", async () => (await alice.http.authedRequest(Method.Get, "/room_keys/version")).count === 2);

// A second device restores what was said before it was there.
const tablet = await device("secret_alice");
assert.ok(await tablet.getCrypto().userHasCrossSigningKeys(undefined, true));
await tablet.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: prove });
await tablet.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
told.restored = (await tablet.getCrypto().restoreKeyBackup()).imported;
const there = tablet.getRoom(roomId);
for (let page = 0; page < 10 && there.oldState.paginationToken !== null; page++) await tablet.scrollback(there, 20);
const said = there.getLiveTimeline().getEvents().filter((event) => event.getWireType() === EventType.RoomMessageEncrypted);
await Promise.all(said.map((event) => tablet.decryptEventIfNeeded(event)));
assert.deepEqual(said.map((event) => event.getContent().body), lines);
told.read = said.length;

// A dehydrated device takes a key in while nobody of that person is there, and a new device wakes it.
assert.ok(await crypto.isDehydrationSupported());
const uploaded = happens(alice, CryptoEvent.DehydratedDeviceUploaded);
await crypto.startDehydration();
await uploaded;
await bob.getCrypto().forceDiscardSession(roomId);
await until("the dehydrated device", async () => {
    const known = await bob.getCrypto().getUserDeviceInfo([alice.getUserId()], true);
    return [...known.get(alice.getUserId()).values()].some((each) => each.dehydrated);
});
const heard = reads(alice, "пока тебя не было");
await bob.sendTextMessage(roomId, "пока тебя не было");
await heard;
const phone = await device("secret_alice");
let keys = 0;
phone.on(CryptoEvent.RehydrationProgress, (count) => (keys = count));
const woken = happens(phone, CryptoEvent.RehydrationCompleted);
assert.ok(await phone.getCrypto().userHasCrossSigningKeys(undefined, true));
await phone.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: prove });
await phone.getCrypto().startDehydration();
await woken;
told.woken = keys;

// Two devices of one person compare emoji.
const watch = await device("secret_alice");
assert.ok(await watch.getCrypto().userHasCrossSigningKeys(undefined, true));
await meet(watch, alice);
await meet(alice, watch);
const asked = happens(alice, CryptoEvent.VerificationRequestReceived);
const request = await watch.getCrypto().requestOwnUserVerification();
const [received] = await asked;
const ready = happens(request, VerificationRequestEvent.Change, () => request.phase === VerificationPhase.Ready);
await received.accept();
await ready;
const started = happens(received, VerificationRequestEvent.Change, () => received.verifier !== undefined);
const asking = await request.startVerification("m.sas.v1");
await started;
const shown = [asking, received.verifier].map((verifier) => happens(verifier, VerifierEvent.ShowSas));
const verified = [asking, received.verifier].map((verifier) => verifier.verify());
const [[one], [other]] = await Promise.all(shown);
assert.deepEqual(one.sas.emoji, other.sas.emoji);
await Promise.all([one.confirm(), other.confirm()]);
await Promise.all(verified);
const standing = () => crypto.getDeviceVerificationStatus(watch.getUserId(), watch.getDeviceId());
await until("trust", async () => (await standing())?.crossSigningVerified);
told.verified = (await standing()).crossSigningVerified;
told.emoji = one.sas.emoji.length;

// Cross-signing keys were taken from a person without any; others take their place only after a proof.
assert.equal(proofs, 0);
await crypto.bootstrapCrossSigning({ setupNewCrossSigning: true, authUploadDeviceSigningKeys: prove });
told.proofs = proofs;

for (const client of [alice, bob, tablet, phone, watch]) client.stopClient();
tell(told);
