"""Proxies on loopback, HTTP and SOCKS, that lead every name to one server and say who came through.

with Proxy("http", server.url) as proxy:
    run_generate("--base-url", "http://models.test/v1", env={"HTTP_PROXY": proxy.url})
"""

import asyncio
import base64
import threading
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Kind "http" (requests as they are, and CONNECT) or "socks5". `login`: "name:password" that it wants to see."""

    def __init__(self, kind: str, server: str, login: str = "") -> None:
        self._kind, self._server, self._login = kind, urlsplit(server), login
        self.asked: list[str] = []  # the targets, as they were named
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._started.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await (self._socks if self._kind == "socks5" else self._http)(reader, writer)
            if first is not None:
                there, back = await asyncio.open_connection(self._server.hostname, self._server.port)
                back.write(first)
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        self.asked.append(target.decode())
        wanted = b"Basic " + base64.b64encode(self._login.encode())
        if self._login and wanted not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return b""
        path = urlsplit(target.decode()).path.encode()
        return head.replace(target, path, 1).replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1)

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if self._login and 2 not in methods:
            writer.write(b"\x05\xff")
            return None
        writer.write(b"\x05\x02" if self._login else b"\x05\x00")
        if self._login:
            name = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            right = f"{name.decode()}:{password.decode()}" == self._login
            writer.write(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                return None
        *_, kind = await reader.readexactly(4)
        length = (await reader.readexactly(1))[0] if kind == 3 else 4
        host = await reader.readexactly(length)
        await reader.readexactly(2)
        self.asked.append(host.decode() if kind == 3 else ".".join(map(str, host)))
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        return b""


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
