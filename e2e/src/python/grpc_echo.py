"""Calls of the mesh's echo service by Python's gRPC.

    grpc_echo.py [--authority NAME] [--ca FILE] TARGET CALLS PATIENCE

TARGET as gRPC spells it; with `xds:///` gRPC itself reads the mesh's configuration, from the server in
GRPC_XDS_BOOTSTRAP_CONFIG. With --ca by TLS. Makes CALLS unary calls, and if all went well one streaming call of each
kind. Prints one JSON object: how many unary calls ended with each status, what the last that failed said, and which
streaming calls gave back what they should. Tries again for PATIENCE seconds until a first call is answered.
"""

import argparse
import collections
import json
import time

import grpc

line = argparse.ArgumentParser()
line.add_argument("--authority")
line.add_argument("--ca", type=argparse.FileType("rb"))
line.add_argument("target")
line.add_argument("calls", type=int)
line.add_argument("patience", type=float)
line = line.parse_args()


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


options = [("grpc.default_authority", line.authority)] if line.authority else []
if line.ca:
    # The name that the certificate must have, where the target is an address.
    options.append(("grpc.ssl_target_name_override", line.authority))
    credentials = grpc.ssl_channel_credentials(line.ca.read())
    channel = grpc.secure_channel(line.target, credentials, options)
else:
    channel = grpc.insecure_channel(line.target, options)
SERVICE = "/halcyon.samples.v1.Echo/"
unary = channel.unary_unary(SERVICE + "Unary")
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


end = time.monotonic() + line.patience
while call() != "OK" and time.monotonic() < end:
    time.sleep(0.2)
for _ in range(line.calls):
    statuses[call()] += 1

streams = []
if statuses.keys() <= {"OK"}:
    hello, three = field(1, "hello"), field(1, "hello") + bytes([2 << 3, 3])
    said = [texts(answer)[1] for answer in channel.unary_stream(SERVICE + "ServerStream")(three, timeout=10)]
    assert said == ["hello"] * 3, said
    streams.append("server")
    said = texts(channel.stream_unary(SERVICE + "ClientStream")(iter([hello, hello]), timeout=10))[1]
    assert said.count("hello") == 2, said
    streams.append("client")
    said = [texts(answer)[1] for answer in channel.stream_stream(SERVICE + "Bidi")(iter([hello, hello]), timeout=10)]
    assert said == ["hello"] * 2, said
    streams.append("both")
print(json.dumps({"statuses": statuses, "details": details, "streams": streams}))
