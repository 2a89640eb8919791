"""Bodies that a gateway must not touch."""

import json

# What the character set of SQS can hold.
TEXTS = {
    "JSON": json.dumps({"order": 1, "lines": [{"sku": "a", "n": 2.50}], "note": None}).encode(),
    "JSON with odd spacing": b'{ "b" :1,\t"a": 1.0e2 ,"a":2 }\n\n',
    "empty": b"",
    "256 KiB": (b'{"filler":"' + b"0123456789abcdef" * 16384)[: 256 * 1024 - 2] + b'"}',
    "quotes, newlines, emoji": 'she said "it\'s <b>&amp;</b> \\" \r\n\ttab 🎈 é 漢 \u2028 ]]> %20 +'.encode(),
    "a selector's look": b"$request.body.a ${env:HOME} $context.requestId",
}

# What it cannot: delivered as base64 by embedded queues, refused for SQS itself, raw for Kinesis.
BINARIES = {
    "not UTF-8": bytes(range(256)) * 3,
    "control characters": b"bell \x07 nul \x00 vt \x0b",
    "U+FFFF": "a\uffff".encode(),
}

PAYLOADS = {**TEXTS, **BINARIES}
