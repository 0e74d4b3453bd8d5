#!/usr/bin/env python3
"""Fills fuzz/corpus with what is worth beginning from: what was recorded from a real RESTHeart, and some heads."""

import hashlib
import json
import pathlib
import random

FUZZ = pathlib.Path(__file__).resolve().parent
GOLDEN = FUZZ.parent / "tests" / "golden"

REQUEST = (
    "GET /p/_streams/all;m=1?a=1&t=a+b%2F%C3%BC&n=O'Brien\n"
    "Host: h:8080\nX-Tenant: a\nCookie: sid=x\nAuthorization: Basic Ym9iOnB3"
)
CLAIMS = [
    {},
    {"exp": 4102444800},
    {"exp": 1000000000},
    {"nbf": 1, "iat": 1.5, "aud": ["a", "b"]},
    {"deep": {"a": [1, None, True, {"b": "\u00e9"}]}},
]
HEADS = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b'GET /m?filter={"from":"Bob"}#c HTTP/1.1\r\nHost: h\r\nX: a\r\n\r\nGET /second HTTP/1.1\r\nHost: h\r\n\r\n',
    b"POST /m HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcd",
    b"PUT /\xe9`<a>?b=\xc3\xa9 HTTP/1.0\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\nrest",
    b"GET http://h:80/a?b HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhiHEAD /b HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0A;x\r\n0123456789\r\n0\r\n"
    b"T: 1\r\nt:2 \r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: a, close\r\n\r\n",
]


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(target, representation=0x04):
    return b"\x82" + bytes([representation, len(target)]) + target + b"\x87\x41\x01h"


# Behind the preface.
HTTP2 = [
    frame(4, 0, 0, b"") + frame(1, 5, 1, block(b'/m?filter={"from":"Bob"}')),
    frame(4, 0, 0, bytes(6)) + frame(1, 4, 1, block(b"/a", 0x44)) + frame(0, 1, 1, b"body") + frame(1, 5, 3, b"\x82\xbe\x87"),
    frame(1, 0x2D, 1, b"\x02" + bytes(5) + block(b"/`", 0x14) + b"\0\0"),
    frame(1, 1, 1, b"\x82") + frame(9, 4, 1, block(b"/#")),
    frame(1, 5, 1, b"\x82\x00\x05:path\x86" + b"\x60\xd4\x8e\x62\xa1\x8f" + b"\x87"),
]


def found(value, name):
    """Everything that stands under a name, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name:
                yield inner
            yield from found(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from found(inner, name)


def texts(folder, name):
    for file in sorted((GOLDEN / folder).glob("*.json")):
        recorded = json.loads(file.read_text())
        yield from (text for text in found(recorded, name) if isinstance(text, str))


def matches():
    for file in sorted(GOLDEN.glob("**/*.json")):
        for filter in found(json.loads(file.read_text()), "$match"):
            yield json.dumps(filter).encode()


def write(target, seeds):
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    seeds = set(seeds)
    for seed in seeds:
        (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    print(f"{target}: {len(seeds)} seeds")
    assert seeds


def noise(count):
    """Of which filters, stages and events are made: enough for whole ones."""
    source = random.Random(1)
    return (source.randbytes(source.randrange(100, 600)) for _ in range(count))


write("compile", [*matches(), *noise(50)])
write("matches", noise(200))
write("pipeline", noise(200))
write("predicate", (f"{text}\n\n{REQUEST}".encode() for text in texts("access", "predicate")))
tokens = (json.dumps({"iss": "restheart.org", "sub": "u", "roles": ["r", 1], **more}) for more in CLAIMS)
write(
    "credentials",
    [f"a{text}".encode() for text in texts("access", "Authorization")]
    + [f"c{text}".encode() for text in texts("access", "Cookie")]
    + [f't{{"alg":"HS256","kid":"a"}}\n{token}'.encode() for token in tokens]
    + [b"aBasic Ym9iOnB3", b"crh_auth=Basic_Ym9iOnB3; a=b", b"qtoken=a.b.c&x=y"],
)
write("head", (bytes([size]) + head for head in HEADS for size in (1, 7, 255)))
write("http2", (bytes([size]) + sent for sent in HTTP2 for size in (1, 7, 255)))
