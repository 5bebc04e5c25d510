"""The composition root: every part of the server is made here, once, and handed to the parts that use it.

Read it in the order of the layers: `core` (the world outside and what everything stands on), `region` (the other
servers), `rooms`, `receiving` and `joins` (rooms across servers), `accounts`, `people` (those of other servers),
`sync`, `media`, `outbox`, `schools`, `cooperation`, `admin`, then `server`, which answers the routes that those
declare. Nothing else makes these objects, and none of them gets more of the others than it uses. To add a part: make it
in the module of its layer, take what it needs as an argument, and let `server` start and stop it if it works by itself.
"""

from homeserver.server.server import Server, build_server

__all__ = ["Server", "build_server"]
