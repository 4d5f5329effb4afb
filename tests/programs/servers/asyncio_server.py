# SPDX-License-Identifier: MIT
"""The program: an asyncio server of a protocol of lines, on a Unix socket; SIGTERM ends it.

    asyncio_server.py SOCKET

A connection is a session with tasks, futures, queues and exceptions that refer to one another, as
servers have them: most of what a session was is cyclic garbage when it ends.
"""

import asyncio
import contextvars
import gc
import signal
import sys
import weakref

import witness

WHO = contextvars.ContextVar("who")
ended = weakref.WeakSet()


class Session:
    """One connection; refers to its tasks, and they to it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.store = {}
        self.replies = asyncio.Queue()
        self.tasks = [asyncio.create_task(self.send())]

    async def send(self):
        while True:
            number, text = await self.replies.get()
            self.writer.write(f"{number} {text}\n".encode())
            await self.writer.drain()
            self.replies.task_done()

    async def serve(self):
        number = 0
        try:
            while line := (await self.reader.readline()).decode().strip():
                number += 1
                self.replies.put_nowait((number, await self.answer(line)))
                if line == "quit":
                    break
            await self.replies.join()
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.writer.close()
            ended.add(self)

    async def answer(self, line):
        command, *words = line.split()
        method = getattr(self, "do_" + command, None)
        if method is None:
            return f"unknown {command}"
        try:
            return await asyncio.wait_for(method(*words), 30)
        except Exception as error:  # the session goes on, whatever a command raised
            self.store["error"] = error  # a cycle through its traceback and this frame
            return f"error {type(error).__name__}: {error}"

    async def do_login(self, name):
        WHO.set(name)
        return f"hello {name}"

    async def do_set(self, key, *values):
        self.store[key] = {"owner": WHO.get("nobody"), "values": list(values), "session": self}
        return f"stored {len(values)}"

    async def do_get(self, key):
        entry = self.store[key]
        return f"{entry['owner']}: {' '.join(entry['values'])}"

    async def do_gather(self, count):
        async def part(number):
            await asyncio.sleep(0)
            return number * number

        parts = [asyncio.ensure_future(part(number)) for number in range(int(count))]
        self.store["parts"] = parts
        return f"sum {sum(await asyncio.gather(*parts))}"

    async def do_generate(self, count):
        async def numbers():
            try:
                for number in range(int(count)):
                    yield number, self
                    await asyncio.sleep(0)
            finally:
                self.store["generated"] = True

        total = 0
        async for number, _ in numbers():
            total += number
            if number == 50:
                break  # the generator is left suspended, for its finalizer hook
        return f"total {total}"

    async def do_thread(self, text):
        return await asyncio.to_thread(lambda: f"{WHO.get('nobody')} {text[::-1]}")

    async def do_timeout(self):
        try:
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()
        except TimeoutError as error:
            self.store["timeout"] = error
            return "timed out"

    async def do_group(self):
        async def failing(number):
            raise ValueError(number)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(failing(number))
        except* ValueError as errors:
            answer = f"group of {sorted(error.args[0] for error in errors.exceptions)}"
        return answer

    async def do_collect(self):
        gc.collect()
        # A collection may have been the second part of what ends a session (asynchronous
        # generators are closed by the loop): another look after the loop has turned.
        await asyncio.sleep(0.01)
        gc.collect()
        witness.note("server")
        return f"collected, {len(ended)} ended sessions left"

    async def do_quit(self):
        return "bye"


async def main(path):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    witness.note("server")

    async def accept(reader, writer):
        await Session(reader, writer).serve()

    server = await asyncio.start_unix_server(accept, path)
    async with server:
        await stop.wait()
    print("stopped", len(asyncio.all_tasks()), "task")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
