"""Accounts: who somebody is here, how they prove it, and what they keep here for themselves.

Here live passwords, sessions and their tokens, the ways in (`login`, `registration`, `nonces`), the interactive proof
that weighty requests ask for (`interactive`), profiles, and the data clients keep (`data`). Devices, their keys and
messages are `homeserver.devices`; what a person may do is `homeserver.policy`.

To add a way in: verify it in a module of its own, then begin the session with `login.Logins.begin`, which asks the
policy and makes device and tokens in one unit of work.
"""
