// Two people on matrix-js-sdk: log in, sync, send, react, redact, paginate, leave. Prints one JSON line; fails loudly.
import assert from "node:assert/strict";
import { ClientEvent, EventType, Preset, RelationType, RoomEvent, RoomMemberEvent } from "matrix-js-sdk";
import { device, happens, person, start, tell } from "./people.mjs";

const alice = await person("js_alice");
const bob = await person("js_bob");

const invited = happens(bob, ClientEvent.Room, (room) => room.getMyMembership() === "invite");
const { room_id: roomId } = await alice.createRoom({ preset: Preset.PrivateChat, name: "5А", invite: [bob.getUserId()] });
await invited;
assert.equal(bob.getRoom(roomId).getMyMembership(), "invite");
assert.equal(bob.getRoom(roomId).name, "5А");
const joined = happens(bob, RoomEvent.MyMembership, (_room, membership) => membership === "join");
await bob.joinRoom(roomId);
await joined;

const last = happens(bob, RoomEvent.Timeline, (event) => event.getContent().body === "строка 29");
const sent = [];
for (let n = 0; n < 30; n++) sent.push((await alice.sendTextMessage(roomId, `строка ${n}`)).event_id);
await last;

const room = bob.getRoom(roomId);
assert.equal(room.getUnreadNotificationCount("total"), 30);
await bob.sendReadReceipt(room.findEventById(sent.at(-1)));

const reacted = happens(alice, RoomEvent.Timeline, (event) => event.getType() === EventType.Reaction);
await bob.sendEvent(roomId, EventType.Reaction, {
    "m.relates_to": { rel_type: RelationType.Annotation, event_id: sent.at(-1), key: "👍" },
});
await reacted;

const redacted = happens(bob, RoomEvent.Redaction, (event) => event.getAssociatedId() === sent.at(-2));
await alice.redactEvent(roomId, sent.at(-2), undefined, { reason: "a slip" });
await redacted;
assert.ok(room.findEventById(sent.at(-2)).isRedacted());

const phone = await start(await device("js_bob"), { initialSyncLimit: 5 });
const there = phone.getRoom(roomId);
const bodies = () => there.getLiveTimeline().getEvents().filter((event) => event.getType() === EventType.RoomMessage);
assert.ok(bodies().length < 30);
for (let page = 0; page < 10 && there.oldState.paginationToken !== null; page++) await phone.scrollback(there, 20);
assert.deepEqual(bodies().map((event) => event.getId()), sent);
assert.equal(there.getLiveTimeline().getEvents()[0].getType(), EventType.RoomCreate);

let search = await phone.searchRoomEvents({ term: "строками" });
assert.equal(search.count, 29);
assert.deepEqual(search.highlights, ["строка"]);
while (search.next_batch) search = await phone.backPaginateRoomEventsSearch(search);
assert.deepEqual(
    search.results.map((result) => result.context.getEvent().getId()),
    sent.filter((eventId) => eventId !== sent.at(-2)).reverse(),
);

const typed = happens(alice, RoomMemberEvent.Typing, (_e, member) => member.userId === bob.getUserId() && member.typing);
await bob.sendTyping(roomId, true, 20_000);
await typed;

await bob.leave(roomId);
await assert.rejects(bob.sendTextMessage(roomId, "still here?"), (error) => error.errcode === "M_FORBIDDEN");
for (const client of [alice, bob, phone]) client.stopClient();
tell({ sent: sent.length, paged: bodies().length });
