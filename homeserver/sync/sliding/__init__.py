"""Simplified sliding sync: be told of the rooms one looks at, by lists of them and by name, and of nothing else.

One engine answers two dialects, the stable and the one that clients speak by now; `homeserver.api.client.sliding` reads
them. Here live: the request (`requests`), what of a room's state is wanted (`required`), what each connection has been
told (`connections`), everybody's rooms by their activity (`rosters`), which of them are looked at (`scopes`), what is
shown of each (`rooms`), what is told beside (`extensions`), and the answer as a whole (`engine`).

What does not live here: how a room's events and state are found and encoded, which is as in `homeserver.sync`.

To add an extension: its wish in `requests`, its part in `extensions`.

Proposal: MSC4186; extensions MSC3884, MSC3885, MSC3959, MSC3960, MSC4508.
"""
