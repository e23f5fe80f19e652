"""A wire to Postgres that can be cut at any exchange: before the question is passed on, or after it was answered and
before the answer is passed back. The second is how the acknowledgement of a commit is lost.

`python -m tests.chaos.money.proxy HOST PORT` prints its own port and takes orders, a line each, on a connection that
begins with `orders`: `arm N WHEN` cuts at exchange number N from now on (0: none), `count` tells how many there were.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

NO_ENCRYPTION = (80_877_103, 80_877_104)
"""Codes of the requests for TLS and for GSSAPI, which are answered with one byte."""
ANSWERED_LOG_INS = (3, 5, 10, 11)
"""Codes of the server's requests that the client answers while it logs in."""
_QUESTIONS, _END = b"QS", b"X"
_ORDERS = b"orde"


class Wire:
    """All connections of one proxy."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._cut_at, self._when, self._count = 0, "after", 0

    async def serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        """One connection, until either side ends it or it is cut."""
        with suppress(OSError, asyncio.IncompleteReadError):
            first = await client.readexactly(4)
            if first == _ORDERS:
                await self._take_orders(client, to_client)
            else:
                await self._connect(first, client, to_client)
        to_client.close()

    async def _take_orders(self, client: StreamReader, to_client: StreamWriter) -> None:
        await client.readline()
        while line := (await client.readline()).decode().split():
            if line[0] == "arm":
                self._cut_at, self._when, self._count = int(line[1]), line[2], 0
            to_client.write(f"{self._count}\n".encode())

    async def _connect(self, first: bytes, client: StreamReader, to_client: StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(*self._target)
        with suppress(OSError, asyncio.IncompleteReadError):
            await _log_in(first, client, to_client, server, to_server)
            while await self._exchange(client, to_client, server, to_server):
                await to_client.drain()
        to_server.close()

    async def _exchange(
        self, client: StreamReader, to_client: StreamWriter, server: StreamReader, to_server: StreamWriter
    ) -> bool:
        """One question and its answer; False when it was cut, or was the last."""
        question = await _messages(client, _QUESTIONS + _END)
        self._count += 1
        struck = self._count == self._cut_at
        if struck and self._when == "before":
            return False
        to_server.write(question)
        if question[:1] == _END:
            return False
        answer = await _messages(server, b"Z")
        if not struck:
            to_client.write(answer)
        return not struck


async def _log_in(
    first: bytes, client: StreamReader, to_client: StreamWriter, server: StreamReader, to_server: StreamWriter
) -> None:
    """Pass on what is said until the server is ready for the first question."""
    request = await client.readexactly(int.from_bytes(first, "big") - 4)
    to_server.write(first + request)
    while int.from_bytes(request[:4], "big") in NO_ENCRYPTION:
        to_client.write(await server.readexactly(1))
        first = await client.readexactly(4)
        request = await client.readexactly(int.from_bytes(first, "big") - 4)
        to_server.write(first + request)
    while (message := await _message(server))[:1] != b"Z":
        to_client.write(message)
        if message[:1] == b"R" and int.from_bytes(message[5:9], "big") in ANSWERED_LOG_INS:
            to_server.write(await _message(client))
    to_client.write(message)


async def _message(reader: StreamReader) -> bytes:
    header = await reader.readexactly(5)
    return header + await reader.readexactly(int.from_bytes(header[1:], "big") - 4)


async def _messages(reader: StreamReader, last: bytes) -> bytes:
    """All messages up to one of the kinds `last`."""
    found = await _message(reader)
    whole = found
    while found[:1] not in {last[n : n + 1] for n in range(len(last))}:
        found = await _message(reader)
        whole += found
    return whole


async def main(host: str, port: int) -> None:
    """Serve until it is killed."""
    server = await asyncio.start_server(Wire(host, port).serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
