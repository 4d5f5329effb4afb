# SPDX-License-Identifier: MIT
"""The program: an aiohttp application: JSON, templates of text, streams, uploads, web sockets.

    aiohttp_server.py SOCKET

``application`` is used by the benchmark as well.
"""

import asyncio
import gc
import hashlib
import json
import sys
import weakref

from aiohttp import WSMsgType, web

import witness

ended = weakref.WeakSet()


class Basket:
    """What a request leaves behind: in a cycle with the request that it belongs to."""

    def __init__(self, request):
        self.request = request
        self.lines = [{"basket": self, "number": number} for number in range(20)]
        request["basket"] = self
        ended.add(self)


@web.middleware
async def with_basket(request, handler):
    Basket(request)
    try:
        response = await handler(request)
    except web.HTTPException as error:
        request["error"] = error
        raise
    response.headers["X-Lines"] = str(len(request["basket"].lines))
    return response


async def item(request):
    number = int(request.match_info["number"])
    if number % 10 == 7:
        raise web.HTTPNotFound(text=f"no item {number}")
    parts = [{"part": part, "of": number, "tags": [f"t{part % 3}", f"n{number % 5}"]}
             for part in range(number % 40)]
    return web.json_response({"item": number, "parts": parts, "query": dict(request.query)})


async def page(request):
    rows = "".join(f"<tr><td>{row}</td><td>{row * row}</td></tr>" for row in range(200))
    return web.Response(text=f"<table>{rows}</table>", content_type="text/html")


async def stream(request):
    response = web.StreamResponse(headers={"X-Kind": "stream"})
    await response.prepare(request)
    for number in range(20):
        await response.write(f"chunk {number}\n".encode() * 50)
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def upload(request):
    told = []
    reader = await request.multipart()
    while part := await reader.next():
        data = await part.read()
        told.append([part.name, part.filename, len(data), hashlib.sha256(data).hexdigest()])
    return web.json_response(told)


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            data = json.loads(message.data)
            await socket.send_json({"echo": data, "keys": sorted(data)})
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data[::-1])
    return socket


async def broken(request):
    raise RuntimeError("this handler is broken")


async def collect(request):
    gc.collect()
    witness.note("server")
    # This request has one itself, and connections that are kept open may hold their last one.
    return web.json_response({"few left": len(ended) < 20})


def application():
    app = web.Application(middlewares=[with_basket])
    app.add_routes([
        web.get("/item/{number}", item), web.get("/page", page), web.get("/stream", stream),
        web.post("/upload", upload), web.get("/echo", echo), web.get("/broken", broken),
        web.get("/collect", collect)])
    return app


if __name__ == "__main__":
    witness.note("server")
    web.run_app(application(), path=sys.argv[1], print=None, access_log=None)
    print("stopped")
