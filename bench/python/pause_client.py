# SPDX-License-Identifier: MIT
"""The client of bench_pauses' server: an open loop over a Unix socket, in a process of its own on stock Python.

    pause_client.py SOCKET RATE SECONDS

Requests leave at fixed times, whatever becomes of those before; a latency counts from the time at which its request
was to leave. A server that stands still therefore delays all who arrive meanwhile, as it does in life. Prints one line
of JSON: the time of each arrival, its latency, and how late the client itself sent it, in microseconds.
"""

import gc
import json
import selectors
import socket
import sys
import threading
import time

CONNECTIONS = 8
GRACE_S = 120


def receive(connections, wanted, answered_ns):
    """Notes when each answer came; an answer is the line that was the request."""
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection, selectors.EVENT_READ, bytearray())
    count = 0
    while count < wanted:
        ready = selector.select(GRACE_S)
        if not ready:
            return
        now_ns = time.perf_counter_ns()
        for key, _ in ready:
            data = key.fileobj.recv(65536)
            if not data:
                return
            key.data.extend(data)
            *lines, rest = key.data.split(b"\n")
            for line in lines:
                answered_ns[int(line)] = now_ns
            count += len(lines)
            key.data[:] = rest


def main():
    path, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    total = max(1, round(rate * seconds))
    connections = []
    for _ in range(CONNECTIONS):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(GRACE_S)
        connection.connect(path)
        connections.append(connection)
    answered_ns = [0] * total
    lateness_ns = [0] * total
    receiver = threading.Thread(target=receive, args=(connections, total, answered_ns))
    gc.disable()
    receiver.start()
    zero_ns = time.perf_counter_ns() + 100_000_000
    for number in range(total):
        due_ns = zero_ns + int(number * 1e9 / rate)
        wait_ns = due_ns - time.perf_counter_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        connections[number % CONNECTIONS].sendall(b"%d\n" % number)
        lateness_ns[number] = time.perf_counter_ns() - due_ns
    receiver.join()
    for connection in connections:
        connection.close()
    if not all(answered_ns):
        print(f"{answered_ns.count(0)} of {total} requests were not answered", file=sys.stderr)
        return 1
    due_us = [int(number * 1e6 / rate) for number in range(total)]
    latency_us = [round((answered - zero_ns) / 1000 - due, 1) for answered, due in zip(answered_ns, due_us)]
    late_us = [late // 1000 for late in lateness_ns]
    print(json.dumps({"at_us": due_us, "latency_us": latency_us, "sent_late_us": late_us}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
