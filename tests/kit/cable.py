"""A way to a server on loopback that can be cut, or held up in the middle of an answer."""

import socket
import threading
from contextlib import suppress

CHUNK = 1 << 16
LONGEST_S = 60.0


class Cable:
    """Passes connections to `port` on to the server at `target`, as they are."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._left: int | None = None
        self._released = threading.Event()
        self.held = threading.Event()
        """Whether an answer is being held up."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End what is going on, and let nobody through."""
        with self._lock:
            self._is_cut = True
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let everybody through again."""
        self._is_cut = False

    def hold(self, after: int) -> None:
        """Hold answers up once they have that many more bytes."""
        self._left = after

    def release(self) -> None:
        """Hold nothing up any more."""
        self._left = None
        self._released.set()

    def close(self) -> None:
        """End."""
        self.release()
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Pass on both ways until either ends. Only this closes the connections."""
        with client, socket.socket() as server:
            with self._lock:
                if self._is_cut:
                    return
                self._open |= {client, server}
            with suppress(OSError):
                server.connect(("127.0.0.1", self._target))
                asking = threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True)
                asking.start()
                self._pass_on(server, client, True)
                asking.join(LONGEST_S)
            with self._lock:
                self._open -= {client, server}

    def _pass_on(self, one: socket.socket, other: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := one.recv(CHUNK):
                if is_answer:
                    self._wait(len(piece))
                other.sendall(piece)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _wait(self, length: int) -> None:
        if self._left is not None:
            self._left -= length
            if self._left < 0:
                self.held.set()
                self._released.wait(LONGEST_S)
