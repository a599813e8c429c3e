#!/usr/bin/env python3
"""session_seeds.py DIR: inputs to begin with, for the target 'session' (target_session.c): maps of every type
and what is done with them, programs, the calls besides bpf(2), and methods."""

import os
import struct
import sys

FIRST_OWN_FD = 2  # the first that the daemon gives out
RING_BELL, RING_WAIT, METHOD = 138, 128, 131  # types, by what they leave when divided by the calls' number


def call(kind, command, content):
    return struct.pack("<BBH", kind, command, len(content)) + content


def new_map(kind, key, value, entries):
    return call(0, 0, struct.pack("<IIIII", kind, key, value, entries, 0) + bytes(52))


def element(command, fd, key, value=0):
    return call(0, command, struct.pack("<IIQQQ", fd, 0, key, value, 0))


def all_of(fd):
    changes = element(2, fd, 200, 100) + element(1, fd, 200, 100)
    return changes + element(4, fd, 0, 8) + element(3, fd, 200)


def info(fd):
    return call(0, 15, struct.pack("<IIQ", fd, 88, 64))


def program(kind):
    """At the beginning of an input: what its attributes point to comes first, in a call that is refused."""
    insns = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    attributes = struct.pack("<IIQQIIQII16s", kind, 2, 4, 4 + 16, 0, 0, 0, 0, 0, b"p") + bytes(60)
    return call(0, 38, insns + b"GPL\0") + call(0, 5, attributes)


def test_run(fd):
    return call(0, 10, struct.pack("<IIIIQQIIIIQQ", fd, 0, 64, 64, 4, 64, 3, 0, 0, 0, 0, 0))


def seeds():
    for kind in range(1, 34):
        yield new_map(kind, 4, 4, 4096) + all_of(FIRST_OWN_FD) + info(FIRST_OWN_FD)
    for kind in (1, 3, 6):
        yield program(kind) + test_run(FIRST_OWN_FD) + info(FIRST_OWN_FD)
    yield program(3) + new_map(3, 4, 4, 4) + element(2, FIRST_OWN_FD + 1, 600, 620)
    yield new_map(27, 0, 0, 4096) + call(RING_BELL, 0, bytes(48)) + call(RING_WAIT, 0, bytes(48))
    for text in (
        b'{"method":"daemon.info"}',
        b'{"method":"jump.apply","params":{"slots":[[3,0,2]]}}',
        b'{"method":"pin.list","params":{"path":"/sys"}}',
        b'{"method":"stats.get"}',
        b'{"method":"port.list"}',
    ):
        yield program(6) + new_map(3, 4, 4, 4) + call(METHOD, 0, text)


for number, seed in enumerate(seeds()):
    with open(os.path.join(sys.argv[1], f"seed{number}"), "wb") as f:
        f.write(seed)
