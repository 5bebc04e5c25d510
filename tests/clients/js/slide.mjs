// Two people on matrix-js-sdk, one of whom slides: rooms by a list, news, invitations, typing, receipts. Prints one JSON line.
import assert from "node:assert/strict";
import { ClientEvent, Preset, RoomEvent, RoomMemberEvent } from "matrix-js-sdk";
import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";
import { baseUrl, device, happens, register, start, tell } from "./people.mjs";

async function slide(client) {
    const everything = { ranges: [[0, 49]], timeline_limit: 5, required_state: [["*", "*"]], filters: {} };
    const sliding = new SlidingSync(baseUrl, new Map([["all", everything]]), everything, client, 3000);
    client.sliding = sliding;
    return start(client, { slidingSync: sliding });
}

for (const name of ["slide_alice", "slide_bob"]) await register(name);
const alice = await device("slide_alice");
const { room_id: first } = await alice.createRoom({ preset: Preset.PublicChat, name: "7Б" });
const bob = await slide(await device("slide_bob"));

const seen = happens(bob, ClientEvent.Room, (room) => room.roomId === first);
await bob.joinRoom(first);
await seen;
const hears = happens(bob, RoomEvent.Timeline, (event) => event.getContent().body === "hello");
const { event_id: eventId } = await alice.sendTextMessage(first, "hello");
await hears;
const room = bob.getRoom(first);
assert.equal(room.name, "7Б");
assert.equal(room.getJoinedMemberCount(), 2);

const types = happens(bob, RoomMemberEvent.Typing, (_, member) => member.userId === alice.getUserId() && member.typing);
await alice.sendTyping(first, true, 10_000);
await types;

const reads = happens(bob, RoomEvent.Receipt, (event) => eventId in event.getContent());
await alice.http.authedRequest("POST", `/rooms/${encodeURIComponent(first)}/receipt/m.read/${encodeURIComponent(eventId)}`, undefined, {});
await reads;

const marks = happens(bob, ClientEvent.AccountData, (event) => event.getType() === "org.example.mark");
await bob.setAccountDataRaw("org.example.mark", { set: true });
await marks;

const invited = happens(bob, ClientEvent.Room, (other) => other.roomId !== first);
await alice.createRoom({ preset: Preset.PrivateChat, name: "Party", invite: [bob.getUserId()] });
const [other] = await invited;
assert.equal(other.getMyMembership(), "invite");

const said = await bob.sendTextMessage(first, "hi");
assert.ok(said.event_id);
const rooms = bob.sliding.getListData("all").joinedCount;
bob.stopClient();
tell({ rooms, heard: room.timeline.filter((event) => event.getType() === "m.room.message").length });
