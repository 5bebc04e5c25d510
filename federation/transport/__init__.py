"""Requests that leave this server: the one part of `federation` that has sockets.

What lives here: the agent through which every outward request goes, and the `answers` that come back; on top of it,
where servers are (`discovery`, with `resolver` for SRV records), how they are asked (`peers`, one of `lines` to each)
and what they sign with (`keyring`). What waiting for others takes lives here, too, for all who do: `memory` asks once
for many, `tasks` lets several things go on at a time, `patience` says when to try again.
What does not: what is said, to whom, and what an answer means. Whoever needs the network takes an
:class:`agent.Outward`, made once by the composition root from the settings of the section ``network``; whoever asks a
server, :class:`peers.Peers`. What is kept over a restart is a protocol here, and a table in the storage.
"""
