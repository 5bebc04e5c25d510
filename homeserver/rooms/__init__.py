"""Rooms: the live room, and every door by which one is made, changed, read or found.

In the middle, three things that know nothing of clients:

* `head` is what a room is at one moment: an immutable value. `room` is the live room: it builds events of ours on its
  pending head and shows the committed one. `seal` is what events are made with.
* `rooms` keeps the live rooms and commits: `commit([(room, drafts), ...], also=[work, ...])` sends events in one or
  several rooms and writes other rows in one unit of work, all or nothing; `create` makes a room.
* `writing` is that unit of work. No event is written unless those it was built on are.

Beside it `receive` takes in the events of other servers, and the rooms they give; `giving` is what they get of ours,
`backfill` fetches history from before our time, `acl` and `servers` say who has part in a room.

Around them the doors, one module a noun: `send` (with `transactions`), `membership` (with `restricted`), `state`,
`create`, `upgrade`, `aliases`, `directory` (with `listing`), `people` (what an account means for its rooms). Reading is
`view` (who may read a room at all), `sight` and `visibility` (which events), `history`, `members`, `filters`, `places`
(tokens) and `render` (the bytes of one event for one client). `doors` puts all of them together.

What holds everywhere: a door asks the policy before it does anything, and raises `Hidden` alike for a room that does
not exist and for one that is not the asker's. Nothing is answered or shown before its commit. Whatever waits between
reading a room and changing it is checked again by the room's own rules, when the event is built.

What does not live here: the Matrix rules themselves (`federation`), tables (`storage`), who is told (`streams`,
`sync`).

To add a door: a class that takes `Rooms`, `Views` and the `Policy` as it needs them, an act in `homeserver.policy`, its
place in `doors`, its endpoints in `api/client`, and tests with `tests.kit.houses`.
"""
