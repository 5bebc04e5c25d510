"""What is told of people but is no event of a room: who is typing, who has read what, who is there.

Typing and presence are kept in memory only and told through `homeserver.streams`; receipts are stored. Each door asks
the policy. What does not live here: showing it to clients, which is `homeserver.sync`.

To add a kind: a module named after it that takes what it needs in its constructor, an act in `homeserver.policy` if
none of those there fits, and its part of an answer in `homeserver.sync`.
"""
