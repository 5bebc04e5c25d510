"""A way to a PostgreSQL server on which a commit can arrive and its answer get lost."""

import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from select import select

_SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Listens in a folder of its own, as a server's socket does, and passes everything on to the one in `target`."""

    def __init__(self, target: Path) -> None:
        self._target = target / _SOCKET
        self._folder = tempfile.TemporaryDirectory(prefix="parta-proxy-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(Path(self._folder.name) / _SOCKET))
        self._listener.listen(50)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._refuses = False
        self._cuts = False
        self.has_cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def dsn(self, name: str) -> str:
        """The connection string of a database behind this."""
        return f"host={self._folder.name} user=postgres dbname={name}"

    def cut_at_commit(self) -> None:
        """Cut everybody off when the server has answered a COMMIT, before the answer arrives; then let nobody in."""
        self.has_cut.clear()
        self._cuts = True

    def mend(self) -> None:
        """Let everybody in again."""
        self._refuses = False

    def close(self) -> None:
        """End."""
        self._refuses = True
        self._listener.close()
        self._cut()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Pass on between a client and the server until one of them ends. Only this closes their connections."""
        with client, socket.socket(socket.AF_UNIX) as server:
            with self._lock:
                if self._refuses:
                    return
                self._open |= {client, server}
            with suppress(OSError):
                server.connect(str(self._target))
                self._pass_on(client, server)
            with self._lock:
                self._open -= {client, server}

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        asked = b""
        while True:
            ready = select([client, server], [], [])[0]
            if client in ready:
                asked = client.recv(65536)
                server.sendall(asked)
                if not asked:
                    return
            if server in ready:
                answer = server.recv(65536)
                if self._cuts and b"COMMIT" in asked and b"COMMIT\0" in answer:
                    self._cuts, self._refuses = False, True
                    self._cut()
                    self.has_cut.set()
                    return
                client.sendall(answer)
                if not answer:
                    return

    def _cut(self) -> None:
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
