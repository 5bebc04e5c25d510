"""Requests that leave this server: the one part of `federation` that has sockets.

What lives here: the agent through which every outward request goes. What does not: what is said, to whom, and what an
answer means. Whoever needs the network takes an :class:`agent.Outward`, made once by the composition root from the
settings of the section ``network``.
"""
