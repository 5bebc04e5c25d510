"""The HTTP connection: requests in, answers out, with as little between as HTTP/1.1 allows.

Twisted's channel does the protocol (lines, transfer codings, pipelining, back-pressure). `channel` gives it deadlines
that a slow sender cannot stretch; `request` has a request looked up as soon as its head is there, and writes an answer
in one piece; `pump` sends files. What is answered is decided in `homeserver.api.edge`. Nothing else of the server
knows Twisted's web.
"""

from homeserver.api.connection.channel import EdgeChannel, EdgeFactory
from homeserver.api.connection.pump import HUNG_UP
from homeserver.api.connection.request import EdgeRequest

__all__ = ["HUNG_UP", "EdgeChannel", "EdgeFactory", "EdgeRequest"]
