"""WebSockets by Python's `websockets`, through a gateway.

    websocket_echo.py [--ca FILE] PORT URL

Connects to PORT of 127.0.0.1 for URL, with --ca by TLS. Sends texts, bytes, a long message, one in fragments, and a
ping, each of which must come back, and closes. Prints one JSON object: how many messages came back, and the code with
which it was closed.
"""

import argparse
import faulthandler
import json
import socket
import ssl

from websockets.sync.client import connect

line = argparse.ArgumentParser()
line.add_argument("--ca")
line.add_argument("port", type=int)
line.add_argument("url")
line = line.parse_args()

# Sending knows no limit: who waits for ever tells where.
faulthandler.dump_traceback_later(45, exit=True)

trust = {"ssl": ssl.create_default_context(cafile=line.ca)} if line.ca else {}
stream = socket.create_connection(("127.0.0.1", line.port), timeout=10)
echoed = 0
with connect(line.url, sock=stream, max_size=None, proxy=None, **trust) as there:
    for message in ["hello", "", "héllo wörld", b"\x00\xff" * 5, "x" * 1_000_000, b"\x01" * 100_000]:
        there.send(message)
        assert there.recv(timeout=10) == message
        echoed += 1
    there.send(["in ", "three ", "parts"])
    assert there.recv(timeout=10) == "in three parts"
    echoed += 1
    assert there.ping(b"are you there").wait(timeout=10)
print(json.dumps({"echoed": echoed, "code": there.protocol.close_code}))
