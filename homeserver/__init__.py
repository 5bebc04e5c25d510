"""One region's server: what it does with the rules that servers agree on.

Storage, rooms, sync, devices, media, push, schools and the APIs. Which package may import which is told
in docs/design.md and held by import-linter. To start it, see ``__main__``; to see how it is put together, ``server``.
"""

VERSION = "0.1.0"
