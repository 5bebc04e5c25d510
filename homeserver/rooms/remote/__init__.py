"""Memberships across servers: joining, knocking, leaving and inviting where room and person are of different servers.

`resident` is this server in a room that others' people want into or out of: it proposes events and takes them.
`joining` is this server on its way into a room of others, `departing` on its way out of one it has no part in; both
go by `handshake`, which makes events of what residents propose and believes nothing of it that it can check.
`inviting` asks other servers' people in, `invited` hears that ours are. `third` is invitations by address.
`entries` are the turns of those who go in; what others tell of a room waits for them.
`outlying` is what is known of rooms where this server has no part.

What does not live here: what becomes of events (`rooms.receive`), who may do what (`policy`), requests and their
signatures (`federation.transport`), how events get to the other servers of a room (`outbox`).

To add a way in or out: what residents do in `resident`, what the other side does in a module of its own, and one more
method of `remote.Remote`, which the doors for clients call.

Spec: server-server-api#joining-rooms, server-server-api#knocking-rooms, server-server-api#inviting-to-a-room,
server-server-api#leaving-rooms-rejecting-invites
"""
