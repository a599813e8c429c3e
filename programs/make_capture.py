#!/usr/bin/env python3
"""Writes a pcap file of made-up but realistic traffic, the same for the same seed.

Sizes follow the simple IMIX (64, 594 and 1518 bytes, 7:4:1); addresses are a Zipf-like choice among
a fixed number of flows; protocols are IPv4 and IPv6 with TCP, UDP and ICMP, some behind VLAN tags,
a few ARP requests, IPv4 fragments, IPv6 extension headers and truncated packets. All checksums are
right.
"""

import argparse
import random
import struct
import sys

ETH_IPV4, ETH_ARP, ETH_VLAN, ETH_IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
IMIX = [(64, 7), (594, 4), (1518, 1)]  # frame sizes with the 4 bytes of FCS that a pcap leaves out
FCS = 4


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Flow:
    """Who talks to whom about what: everything but the size is the same in each packet."""

    def __init__(self, rng):
        self.source_mac = b"\x02" + rng.randbytes(5)
        self.dest_mac = b"\x02\x00\x00\x00\x00" + bytes([rng.randrange(1, 9)])
        self.vlan = rng.randrange(100, 116) if rng.random() < 0.15 else None
        self.ipv6 = rng.random() < 0.3
        size = 16 if self.ipv6 else 4
        prefix = bytes.fromhex("20010db8") if self.ipv6 else b"\x0a"
        self.source = prefix + rng.randbytes(size - len(prefix))
        self.dest = prefix + rng.randbytes(size - len(prefix))
        self.protocol = rng.choices([TCP, UDP, ICMPV6 if self.ipv6 else ICMP], [70, 29.5, 0.5])[0]
        known = {TCP: ([443, 80, 22, 25, 8080], [60, 15, 5, 2, 18]),
                 UDP: ([443, 53, 123, 5060, 4500], [45, 30, 5, 5, 15])}
        self.source_port = rng.randrange(1024, 65536)
        ports, weights = known.get(self.protocol, ([0], [1]))
        self.dest_port = rng.choices(ports, weights)[0]
        if rng.random() < 0.4:  # the answering direction
            self.source_port, self.dest_port = self.dest_port, self.source_port
        self.dscp = rng.choices([0, 10, 26, 46], [85, 5, 5, 5])[0]
        self.extension = self.ipv6 and rng.random() < 0.02
        self.sequence = rng.randrange(1 << 32)

    def pseudo_header(self, length):
        if self.ipv6:
            return self.source + self.dest + struct.pack("!IHBB", length, 0, 0, self.protocol)
        return self.source + self.dest + struct.pack("!BBH", 0, self.protocol, length)

    def transport(self, payload):
        if self.protocol == TCP:
            head = struct.pack("!HHIIBBHHH", self.source_port, self.dest_port, self.sequence, 1,
                               5 << 4, 0x10, 65535, 0, 0)
            offset = 16
            self.sequence = (self.sequence + len(payload)) & 0xFFFFFFFF
        elif self.protocol == UDP:
            head = struct.pack("!HHHH", self.source_port, self.dest_port, 8 + len(payload), 0)
            offset = 6
        else:
            head = struct.pack("!BBHHH", 128 if self.ipv6 else 8, 0, 0, 7, 1)
            offset = 2
        segment = head + payload
        covered = segment
        if self.protocol != ICMP:
            covered = self.pseudo_header(len(segment)) + segment
        value = checksum(covered) or 0xFFFF
        return segment[:offset] + struct.pack("!H", value) + segment[offset + 2:]

    def header_size(self):
        transport = {TCP: 20, UDP: 8}.get(self.protocol, 8)
        network = 40 + (8 if self.extension else 0) if self.ipv6 else 20
        return 14 + (4 if self.vlan is not None else 0) + network + transport

    def frame(self, size, rng):
        payload = rng.randbytes(max(0, size - self.header_size()))
        segment = self.transport(payload)
        if self.ipv6:
            extension = bytes([self.protocol, 0, 1, 4, 0, 0, 0, 0]) if self.extension else b""
            first = 6 << 28 | (self.dscp << 2) << 20
            network = struct.pack("!IHBB", first, len(extension) + len(segment),
                                  0 if self.extension else self.protocol, 64)
            network += self.source + self.dest + extension
            kind = ETH_IPV6
        else:
            fragment = 185 if rng.random() < 0.002 else 0
            network = struct.pack("!BBHHHBBH", 0x45, self.dscp << 2, 20 + len(segment),
                                  rng.randrange(65536), fragment, 64, self.protocol, 0)
            network += self.source + self.dest
            network = network[:10] + struct.pack("!H", checksum(network)) + network[12:]
            kind = ETH_IPV4
        tag = struct.pack("!HH", ETH_VLAN, self.vlan) if self.vlan is not None else b""
        frame = self.dest_mac + self.source_mac + tag + struct.pack("!H", kind) + network + segment
        return frame.ljust(60, b"\0")


def arp_request(rng):
    source = b"\x02" + rng.randbytes(5)
    body = struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, 1) + source + b"\x0a" + rng.randbytes(3)
    body += bytes(6) + b"\x0a" + rng.randbytes(3)
    return (b"\xff" * 6 + source + struct.pack("!H", ETH_ARP) + body).ljust(60, b"\0")


def packets(count, flow_count, seed):
    rng = random.Random(seed)
    flows = [Flow(rng) for _ in range(flow_count)]
    weights = [1 / (i + 1) ** 0.9 for i in range(flow_count)]
    sizes, shares = zip(*IMIX)
    for flow in rng.choices(flows, weights, k=count):
        dice = rng.random()
        if dice < 0.002:
            yield arp_request(rng)
            continue
        frame = flow.frame(rng.choices(sizes, shares)[0] - FCS, rng)
        yield frame[:rng.randrange(14, 40)] if dice < 0.003 else frame


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="pcap file to write")
    parser.add_argument("--packets", type=int, default=8192)
    parser.add_argument("--flows", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.packets < 1 or args.flows < 1:
        parser.error("--packets and --flows must be at least 1")
    try:
        with open(args.output, "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for i, frame in enumerate(packets(args.packets, args.flows, args.seed)):
                out.write(struct.pack("<IIII", 1700000000 + i // 1000000, i % 1000000,
                                      len(frame), len(frame)))
                out.write(frame)
    except OSError as error:
        sys.exit(f"make_capture: {args.output}: {error.strerror}")


if __name__ == "__main__":
    main()
