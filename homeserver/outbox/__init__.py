"""What leaves for others: queues that outlive restarts, in order, tried again until they are taken.

`services` tells application services what concerns them. Each receiver has a line of its own: one that is slow or away
holds up nobody else, and what it is told next is stored before it is sent, so that a restart repeats just that. What
is sent in answer to a request of a client's, such as a ping, does not live here, nor does push (`homeserver.push`).

To add another kind of receiver: a package with its line, and a `heed` that the composition root hands each commit.
"""
