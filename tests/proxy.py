"""A TCP proxy on loopback that can cut every connection in the middle, or refuse new ones."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Proxy:
    """Forwards connections to a target; thread-safe. A context manager.

    Args:
        host: address of the target.
        port: port of the target.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self) -> int:
        """Break every connection as a lost network would; return how many there were."""
        with self._lock:
            count = len(self._peers) // 2
            for sock in list(self._peers):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        return count

    def close(self) -> None:
        """Stop forwarding."""
        self._closed = True
        self.cut()
        self._thread.join(5)
        self._drop(*self._peers)
        self._selector.close()
        self._listener.close()

    def _run(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._forward(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        with self._lock:
            for one, other in ((client, server), (server, client)):
                one.settimeout(10)
                self._peers[one] = other
                self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, sock: socket.socket) -> None:
        peer = self._peers.get(sock)
        if peer is None:
            return
        try:
            data = sock.recv(65536)
            if data:
                peer.sendall(data)
                return
        except OSError:
            pass
        self._drop(sock, peer)

    def _drop(self, *socks: socket.socket) -> None:
        with self._lock:
            for sock in socks:
                if self._peers.pop(sock, None) is not None:
                    self._selector.unregister(sock)
                    sock.close()
