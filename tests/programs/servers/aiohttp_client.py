# SPDX-License-Identifier: MIT
"""The program: an aiohttp client that asks aiohttp_server.py for everything that it has.

    aiohttp_client.py SOCKET ROUNDS

Prints what it was answered.  ``exchange`` is used by the benchmark as well.
"""

import asyncio
import gc
import hashlib
import sys

import aiohttp

import witness


async def told(response):
    """A response in one line."""
    body = await response.read()
    headers = sorted(f"{name}={value}" for name, value in response.headers.items()
                     if name != "Date")
    return (f"{response.status} {' '.join(headers)} {len(body)} "
            f"{hashlib.sha256(body).hexdigest()[:16]}")


async def ask(session, base, number):
    """The requests of one round, some of them at once; returns their lines."""
    async def get(path, **options):
        async with session.get(base + path, **options) as response:
            return f"{path} {await told(response)}"

    lines = await asyncio.gather(*(get(f"/item/{number * 10 + part}", params={"round": number})
                                   for part in range(10)))
    lines += [await get("/page"), await get("/stream"), await get("/broken")]
    # The boundary of the parts is random, and so is the length that the server would tell.
    form = aiohttp.FormData()
    form.add_field("text", f"round {number}")
    form.add_field("file", bytes(range(256)) * 100, filename=f"data-{number}.bin")
    async with session.post(base + "/upload", data=form) as response:
        lines.append(f"/upload {await told(response)}")
    async with session.ws_connect(base + "/echo") as socket:
        for message in range(5):
            await socket.send_json({"round": number, "message": message, "text": "x" * message})
            lines.append(f"/echo {(await socket.receive_json(timeout=60))}")
        await socket.send_bytes(b"abc")
        lines.append(f"/echo {await socket.receive_bytes(timeout=60)}")
    return lines


async def exchange(connect, base, rounds, say):
    """All rounds; `connect` makes the connector, which belongs to the running loop."""
    async with aiohttp.ClientSession(connector=connect()) as session:
        for number in range(rounds):
            for line in await ask(session, base, number):
                say(line)
            if number % 10 == 9:
                gc.collect()
                async with session.get(base + "/collect") as response:
                    say(f"/collect {await response.text()}")


if __name__ == "__main__":
    witness.note("client")
    asyncio.run(exchange(lambda: aiohttp.UnixConnector(sys.argv[1], limit=4), "http://server",
                         int(sys.argv[2]), print))
    witness.note("client")
