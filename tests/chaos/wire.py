"""A TCP proxy before the server's socket that behaves as networks do: cut, silent, slow, gone, or losing replies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from psycopg.conninfo import make_conninfo

IDLE = b"Z\0\0\0\5I"
"""Ready for query, in no transaction: what was asked is committed."""


class Link:
    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.is_greeted = False  # logged in: what comes back from now on are answers
        self.is_asking = False
        self.is_losing = False

    def reset(self) -> None:
        """End it with a reset and not a proper end, as when the network goes."""
        link: socket.socket = self.client.get_extra_info("socket")
        with contextlib.suppress(OSError):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.transport.abort()
        self.server.transport.abort()


class Wire:
    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._loop = asyncio.new_event_loop()
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._delay = 0.0
        self._to_lose = 0
        self.lost = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._thread.start()
        self._open.set()
        self._run(self._listen(0))
        assert self._server is not None
        self.port = self._server.sockets[0].getsockname()[1]

    def dsn(self, dsn: str) -> str:
        return make_conninfo(dsn, host="127.0.0.1", port=self.port, sslmode="disable", gssencmode="disable")

    def lose_replies(self, count: int) -> None:
        """Swallow the next replies whole and cut their connections."""
        self._to_lose = count

    def cut(self) -> int:
        return int(self._run(self._cut()))

    def silence(self, on: bool) -> None:
        """While on, bytes are taken and not passed on; nobody is told."""
        self._loop.call_soon_threadsafe(self._open.clear if on else self._open.set)

    def slow(self, seconds: float) -> None:
        self._delay = seconds

    def refuse(self, on: bool) -> None:
        self._run(self._close() if on else self._listen(self.port))

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._links.values())
        await self._cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, server = await asyncio.open_unix_connection(self._path)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server)
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        ways = [asyncio.create_task(self._pass(reader, server, self._asked, link)),
                asyncio.create_task(self._pass(back, writer, self._answered, link))]  # fmt: skip
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()
            server.transport.abort()
            self._links.pop(link, None)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        look: Callable[[Link, bytes], bool],
        link: Link,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                if self._delay:
                    await asyncio.sleep(self._delay)
                if not self._open.is_set():
                    wait: Awaitable[Any] = self._open.wait()
                    await wait
                if look(link, data):
                    writer.write(data)
                    await writer.drain()

    def _asked(self, link: Link, _data: bytes) -> bool:
        if link.is_greeted and not link.is_asking:
            link.is_asking = True
            if self._to_lose > 0:
                self._to_lose -= 1
                link.is_losing = True
        return True

    def _answered(self, link: Link, data: bytes) -> bool:
        is_idle = data.endswith(IDLE)
        if is_idle:
            link.is_greeted, link.is_asking = True, False
            if link.is_losing:
                self.lost += 1
                link.reset()
        return not link.is_losing
