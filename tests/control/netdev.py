#!/usr/bin/env python3
"""netdev.py INTERFACE: its XDP features, asked for as libbpf from 1.3 on does in bpf_xdp_query()."""
import socket, struct, sys

CONTROL, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2
DEV_GET, IFINDEX, XDP_FEATURES = 1, 1, 3


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def ask(s, kind, command, attributes):
    body = struct.pack("=BBH", command, 1, 0) + attributes
    s.send(struct.pack("=IHHII", 16 + len(body), kind, 1, 7, 0) + body)
    answer = s.recv(8192)
    length, got, _, sequence, _ = struct.unpack_from("=IHHII", answer)
    if got == 2:
        sys.exit("error %d" % struct.unpack_from("=i", answer, 16))
    if (got, sequence) != (kind, 7):
        sys.exit("an answer of type %d to %d" % (got, sequence))
    found, at = {}, 20
    while at + 4 <= length:
        size, attr = struct.unpack_from("=HH", answer, at)
        found[attr & 0x3FFF] = answer[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)  # NETLINK_GENERIC
s.settimeout(5)
family = struct.unpack("=H", ask(s, CONTROL, GET_FAMILY, attribute(FAMILY_NAME, b"netdev\0"))[FAMILY_ID])[0]
name = sys.argv[1]
ifindex = int(name) if name.isdigit() else socket.if_nametoindex(name)
got = ask(s, family, DEV_GET, attribute(IFINDEX, struct.pack("=I", ifindex)))
same = struct.unpack("=I", got[IFINDEX])[0] == ifindex
print("features", struct.unpack("=Q", got[XDP_FEATURES])[0], "" if same else "of another")
