"""What a person is notified of: push rules, and the counts of unread notifications that follow from them.

`defaults` are the rules every account starts with, `rules` a person's whole rule set and how it is edited, `conditions`
and `globs` turn rules into quick functions of an event, `rulebook` keeps people's sets, and `counts` evaluates them for
`sync`.

`pushing` tells push gateways: who of a room is concerned (`audience`), how many notifications wait for a person
(`badges`), what waits for a pusher (`lines`), and what a gateway hears (`gateway`). `pushers` are set by their owners,
`notifications` lists what they were told.

Rules are compiled once per distinct set: whoever changed nothing shares one compiled set, and one evaluation of an
event, with everybody else who changed nothing.

To add a kind of condition: a compiler in `conditions.COMPILERS`, and a table of matching and other events in its test.

Spec: client-server-api#push-notifications
"""
