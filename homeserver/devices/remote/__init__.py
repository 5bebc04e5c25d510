"""The devices of people elsewhere: what their servers say of them, and what those send to our devices.

`asking` asks other servers and reads their answers, `lists` keeps device lists and has them asked for again when
changes were missed, `elsewhere` finds and claims keys for our people, `receiving` takes what other servers send of
devices, and `serving` tells other servers of our people's. What does not live here: sending, which is
`homeserver.outbox`.

To take another kind of EDU: a method in `receiving`, and its name in the composition.
"""
