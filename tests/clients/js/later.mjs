// Two people on matrix-js-sdk: what one of them schedules reaches the other later, or never. Prints one JSON line.
import assert from "node:assert/strict";
import { EventType, Preset, RoomEvent } from "matrix-js-sdk";
import { happens, person, tell } from "./people.mjs";

const CALL = "org.matrix.msc3401.call.member";
const alice = await person("later_alice");
const bob = await person("later_bob");
const { room_id: roomId } = await alice.createRoom({ preset: Preset.PublicChat });
const joined = happens(bob, RoomEvent.MyMembership, (_room, membership) => membership === "join");
await bob.joinRoom(roomId);
await joined;

const text = (body) => ({ msgtype: "m.text", body });
const hears = (body) => happens(bob, RoomEvent.Timeline, (event) => event.getContent().body === body);
const schedule = async (body, delay) =>
    (await alice._unstable_sendDelayedEvent(roomId, { delay }, null, EventType.RoomMessage, text(body))).delay_id;

// A message comes when its time has come.
const heard = hears("in a moment");
await schedule("in a moment", 200);
await heard;

// A call's end is put off for as long as the client is there, and told at once when it leaves.
await alice.sendStateEvent(roomId, CALL, { application: "m.call" }, "_alice");
const end = await alice._unstable_sendDelayedStateEvent(roomId, { delay: 60_000 }, CALL, {}, "_alice");
await alice._unstable_restartScheduledDelayedEvent(end.delay_id);
const listed = (await alice._unstable_getDelayedEvents()).delayed_events;
assert.deepEqual(listed.map((each) => [each.delay_id, each.type, each.state_key]), [[end.delay_id, CALL, "_alice"]]);
const left = happens(bob, RoomEvent.Timeline, (event) => event.getType() === CALL && !event.getContent().application);
await alice._unstable_sendScheduledDelayedEvent(end.delay_id);
await left;

// What is cancelled, in either way that clients know, never comes.
await alice._unstable_cancelScheduledDelayedEvent(await schedule("never", 60_000));
await alice._unstable_updateDelayedEvent(await schedule("never either", 60_000), "cancel");
assert.equal((await alice._unstable_getDelayedEvents()).delayed_events.length, 0);
await assert.rejects(
    schedule("next month", 30 * 86_400_000),
    (fault) => fault.data["org.matrix.msc4140.errcode"] === "M_MAX_DELAY_EXCEEDED" && fault.httpStatus === 400,
);

const last = hears("good night");
await alice.sendTextMessage(roomId, "good night");
await last;
const said = bob.getRoom(roomId).getLiveTimeline().getEvents().filter((event) => event.getType() === EventType.RoomMessage);
for (const client of [alice, bob]) client.stopClient();
tell({ said: said.map((event) => event.getContent().body) });
