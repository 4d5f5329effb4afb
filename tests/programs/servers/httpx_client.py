# SPDX-License-Identifier: MIT
"""The program: loops of an HTTP client, the kind whose memory grew under collectors that came late.

    httpx_client.py URL REQUESTS

Asks a local server with one client, with a client per request, and with many tasks at once; prints
what it was answered.  ``loops`` is used by the benchmark as well.
"""

import asyncio
import gc
import hashlib
import sys

import httpx

import witness


def told(response):
    """A response in one line."""
    digest = hashlib.sha256(response.content).hexdigest()[:16]
    headers = sorted(f"{name}={value}" for name, value in response.headers.items()
                     if name not in ("date", "server"))
    return f"{response.status_code} {' '.join(headers)} {len(response.content)} {digest}"


def one_client(url, count, say):
    with httpx.Client(base_url=url, timeout=60) as client:
        for number in range(count):
            response = client.get(f"/data/{number}", params={"size": number * 37 % 5000})
            say(f"get {number} {told(response)}")
            if number % 5 == 0:
                response = client.post("/echo", json={"number": number, "rows": [number] * 50})
                say(f"post {number} {told(response)} {response.json()['json']['number']}")
            try:
                client.get(f"/missing/{number}", follow_redirects=True).raise_for_status()
            except httpx.HTTPStatusError as error:
                say(f"error {error.response.status_code}")


def client_per_request(url, count, say):
    """Each client is a web of pools, locks and contexts that refer to one another."""
    for number in range(count):
        with httpx.Client(base_url=url, timeout=60) as client:
            say(f"new {number} {told(client.get(f'/redirect/{number}', follow_redirects=True))}")


def refused(say):
    """Nobody listens on port 1: errors with their chains of causes and tracebacks."""
    for _ in range(10):
        try:
            httpx.get("http://127.0.0.1:1/", timeout=5)
        except httpx.ConnectError as error:
            say(f"refused {type(error.__cause__ or error.__context__).__name__}")


async def many_tasks(url, count, say):
    limits = httpx.Limits(max_connections=4)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        async def ask(number):
            async with client.stream("GET", f"/data/{number}", params={"size": 3000}) as response:
                return [len(chunk) async for chunk in response.aiter_bytes(1000)]

        say(f"tasks {await asyncio.gather(*(ask(number) for number in range(count)))}")


def loops(url, count, say):
    one_client(url, count, say)
    client_per_request(url, count // 5, say)
    refused(say)
    asyncio.run(many_tasks(url, count, say))


if __name__ == "__main__":
    witness.note("client")
    for _ in range(2):
        loops(sys.argv[1], int(sys.argv[2]), print)
        gc.collect()
        witness.note("client")
    print("garbage", gc.garbage)
