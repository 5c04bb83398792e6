"""A program without a proxy: gRPC itself reads the mesh's configuration, by xDS, from GRPC_XDS_BOOTSTRAP_CONFIG.

    client.py TARGET CALLS PATIENCE

Makes CALLS unary calls to the mesh's echo service and prints one JSON object: how many ended with each status, and
what the last that failed said. Tries again for PATIENCE seconds until a first call is answered.
"""

import collections
import json
import sys
import time

import grpc

target, calls, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


def field(number, text):
    """A text in a message, shorter than 128 bytes."""
    data = text.encode()
    return bytes([number << 3 | 2, len(data)]) + data


def texts(message):
    """The texts of a message, by the number of their field."""
    found, at = {}, 0
    while at < len(message):
        key, at = message[at], at + 1
        if key & 7 == 2:
            length = message[at]
            found[key >> 3] = message[at + 1 : at + 1 + length].decode()
            at += 1 + length
        else:
            while message[at] & 0x80:
                at += 1
            at += 1
    return found


channel = grpc.insecure_channel("xds:///" + target)
unary = channel.unary_unary("/halcyon.samples.v1.Echo/Unary")
statuses, details = collections.Counter(), ""


def call():
    global details
    try:
        answer = texts(unary(field(1, "hello"), timeout=10))
        assert answer[1] == "hello", answer
        return "OK"
    except grpc.RpcError as error:
        details = error.details()
        return error.code().name


end = time.monotonic() + patience
while call() != "OK" and time.monotonic() < end:
    time.sleep(0.2)
for _ in range(calls):
    statuses[call()] += 1
print(json.dumps({"statuses": statuses, "details": details}))
