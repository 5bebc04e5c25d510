"""What servers must agree on: identifiers, canonical JSON, events, hashes, signatures, rules and state.

Everything here is a value or a pure function of values: no socket, clock, database, chance, Twisted or async, except in
`federation.transport`. Time and randomness are arguments, so each rule can be tested by a table and run in any thread.

Imports run one way: `errors` <- `ids`, `canonical`, `pieces`, `unpadded`, `ed25519`, `versions` <- `pdu` <- `redaction`
<- `hashes` <- `signatures`, `event` <- `keys`, `claims`, `auth` <- `regions`, `resolution`. `requests` and `discovery`
need the first row only, `paths` nothing. Callers take events from `federation.event`, keys from `federation.ed25519`.

Three kinds of trouble, never mixed: `Refused` (a rule says no), `RemoteFault` (a peer sent what it must not), and any
other exception, which is our own bug. Parsers are strict and raise only what they declare, whatever bytes they are
given.

To add a room version: one `dataclasses.replace` in `versions` that names what changed, each new switch documented with
the spec's section and asked for by name where it matters; nobody compares version numbers. To add a parser: declare its
one exception in `errors`, and give it a fuzz test.
"""
