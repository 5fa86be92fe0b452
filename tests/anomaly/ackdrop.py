"""A proxy that loses replies: the server has committed, the client never hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

READY_FOR_QUERY, IDLE = ord("Z"), ord("I")


class AckDrop:
    """Forwards to the server of `dsn`; armed, it cuts the connection in place of the next reply, once that is complete.

    In autocommit mode the server says ReadyForQuery (idle) only after the commit: what is lost is the word, not the work.
    """

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._host, self._port = str(given["host"]), int(given.get("port") or 5432)
        self._target = dsn
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ackdrop", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self.armed = False
        self.dropped = 0

    @property
    def dsn(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return make_conninfo(self._target, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop)
        self._server = listening.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if self._host.startswith("/"):
                upstream = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
            else:
                upstream = await asyncio.open_connection(self._host, self._port)
            forward = asyncio.create_task(self._forward(reader, upstream[1]))
            try:
                await self._answer(upstream[0], writer)
            finally:
                forward.cancel()
                await asyncio.gather(forward, return_exceptions=True)
                upstream[1].transport.abort()
        writer.transport.abort()
        self._links.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Message by message: a type, a length that counts itself, a body."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
                if self.armed:
                    if head[0] == READY_FOR_QUERY and body[0] == IDLE:
                        self.armed = False
                        self.dropped += 1
                        # With a reset and not a proper end, as when the network goes.
                        link: socket.socket = writer.get_extra_info("socket")
                        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    continue
                writer.write(head + body)
                await writer.drain()
