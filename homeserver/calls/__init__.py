"""Calls: the servers that carry them, and who is given access to those.

Here live the credentials of TURN servers. What is said in a call passes this server in events like any other; what is
heard and seen does not pass it at all. To add another kind of server that carries calls, ask `PlaceCall` before telling
of it.
"""
