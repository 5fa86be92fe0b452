"""A TCP proxy before the server's socket that loses replies: the request gets through, the answer does not."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """`dsn` leads through it. `lose(word)`: the next reply to a request that holds the word is swallowed.

    The client must not use prepared statements, so that each request shows its SQL.
    """

    def __init__(self, dsn: str) -> None:
        parts: dict[str, Any] = conninfo_to_dict(dsn)
        self._target = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(
            dsn, host="127.0.0.1", port=self._listener.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        self._word: bytes | None = None
        self._answer: bytes | None = None
        self._hold = False
        self.lost = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, word: str, *, hold: bool = False) -> None:
        """Swallow a reply and cut the connection, or with `hold` keep it open in silence."""
        self.lost.clear()
        self._hold, self._word = hold, word.encode()

    def lose_answer(self, word: str) -> None:
        """Swallow the next reply that itself holds the word, and keep the connection open in silence."""
        self.lost.clear()
        self._hold, self._answer = True, word.encode()

    def close(self) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._sockets += [client, server]
                state: dict[str, Any] = {"drop": False}
                threading.Thread(target=self._requests, args=(client, server, state), daemon=True).start()
                threading.Thread(target=self._replies, args=(client, server, state), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, state: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                if self._word and self._word in data:
                    self._word, state["drop"] = None, True
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _replies(self, client: socket.socket, server: socket.socket, state: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if self._answer and self._answer in data:
                    self._answer, state["drop"] = None, True
                if not state["drop"]:
                    client.sendall(data)
                elif b"Z\0\0\0\5I" in data:  # ready for query, idle: it is committed
                    self.lost.set()
                    if not self._hold:
                        break
            if not (state["drop"] and self._hold):
                for each in (client, server):  # a close alone would wait for the other thread's recv
                    each.shutdown(socket.SHUT_RDWR)
