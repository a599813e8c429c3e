#!/usr/bin/env python3
"""export_maps.py SOCKET [--bad] ID: sends the map of $BPF_MAP0 as `tc filter ... bpf ... export SOCKET` does."""
import os
import socket
import struct
import sys

path, number = sys.argv[1], int(sys.argv[-1])
head = struct.pack("HH64s4xQQ", 1, 1, b"object.o", 0, 0)
described = struct.pack("9I", 1, 4, 8, 16, 0, number, 0, 0, 0)
fds = [int(os.environ["BPF_MAP0"])]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect(path)
    if "--bad" in sys.argv:
        s.send(b"junk")
        s.send(head + described)
        socket.send_fds(s, [head + described[:8]], fds)
        socket.send_fds(s, [b"\2" + head[1:] + described], fds)
        socket.send_fds(s, [head + described], fds * 2)
    else:
        socket.send_fds(s, [head + described], fds)
