"""tunnel_packets.py NEAR FAR DIR SLUICE OBJECT: the packets of tunnel_test.sh, there and compared.

With SLUICE_SOCKET in the environment Sluice is that daemon in NEAR, to whose ports x1 and z1 there lead;
else it is `sluice forward`, with files as ports.
"""
import ctypes
import fcntl
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

near, far, work, sluice, obj = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
random.seed(4789)
MARK = b"tunnel test "
ETH, UDP, VXLAN = 14, 8, 8
failed = False


def fail(text):
    global failed
    failed = True
    print(text)


def enter(namespace):
    fd = os.open("/run/netns/" + namespace, os.O_RDONLY)
    if libc.setns(fd, 0x40000000) != 0:
        sys.exit("cannot enter " + namespace)
    os.close(fd)


def packets(namespace, device):
    """A packet socket on a device; outgoing packets are not for it."""
    enter(namespace)
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    s.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: a tag that was taken out
    s.bind((device, 0))
    return s


def sum_in_software(namespace, device):
    """The peer of a veth would see packets whose checksums are left to hardware."""
    enter(namespace)
    value = ctypes.create_string_buffer(struct.pack("II", 0x17, 0))  # ETHTOOL_STXCSUM
    request = struct.pack("16sP", device.encode(), ctypes.addressof(value)) + bytes(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8946, request)  # SIOCETHTOOL


def receive(s, wanted):
    """All that comes until it is still."""
    got, end = [], time.monotonic() + 5
    while time.monotonic() < end and select.select([s], [], [], 0.3 if len(got) >= wanted else 1)[0]:
        frame, aux, _, source = s.recvmsg(2048, 256)
        if source[2] == 4:
            continue
        for level, kind, data in aux:
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if kind == 8 and status & 0x10:
                frame = frame[:12] + struct.pack(">HH", tpid, tci) + frame[12:]
        if MARK in frame:
            got.append(frame)
    return got


def write_pcap(name, frames):
    path = os.path.join(work, name)
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            f.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    return path


def read_pcap(name):
    data = open(os.path.join(work, name), "rb").read()
    at, frames = 24, []
    while at < len(data):
        n = struct.unpack_from("<I", data, at + 8)[0]
        frames.append(data[at + 16:at + 16 + n])
        at += 16 + n
    return frames


def forward(*options):
    """Sluice in the near namespace."""
    enter(near)
    done = subprocess.run([sluice, "forward", "--no-huge", "-m", "256", "--no-shconf", "--no-pci",
                           "--", "--workers", "1", "--seconds", "0.7", *options], capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        sys.exit("sluice: " + done.stderr)
    return done.stdout


def sluice_does(*words):
    """A sluice command in the near namespace, for the daemon."""
    enter(near)
    done = subprocess.run([sluice, *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(" ".join(words) + ": " + done.stdout + done.stderr)
    return done.stdout


def filters(port, section):
    """The program of that section at the port's ingress, by tc itself."""
    sluice_does("run", "--", "tc", "qdisc", "add", "dev", port, "clsact")
    sluice_does("run", "--", "tc", "filter", "add", "dev", port, "ingress", "bpf", "da", "obj", obj, "sec", section)


def send_slowly(s, sent):
    for at in range(0, len(sent), 100):
        for frame in sent[at:at + 100]:
            s.send(frame)
        time.sleep(0.02)


def csum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def asked(number):
    """A random struct asked of tunnel.bpf.c."""
    ipv6 = number % 2
    flags = ipv6 | random.choice([0, 2]) | random.choice([0, 4])
    remote = bytes.fromhex("fd09") + bytes(13) + b"\x09" if ipv6 else struct.pack("=I", 0x0A090009) + bytes(12)
    local = random.choice([bytes(16), bytes.fromhex("fd09") + bytes(13) + b"\x01"
                           if ipv6 else struct.pack("=I", 0x0A090001) + bytes(12)])
    key = struct.pack("=I", random.getrandbits(24)) + remote
    key += struct.pack("=BBHI", random.choice([0, 1, random.getrandbits(8)]), random.choice([0, 1, 64, 255]),
                       0, random.getrandbits(20) if ipv6 else 0) + local
    # Without one the kernel sends what is on its stack.
    policy = random.choice([1, 0x480001, random.getrandbits(16) | 1, random.getrandbits(32) | 1])
    return struct.pack("=I", flags) + key + struct.pack("=I", policy)


def inner(number):
    """A frame of UDP over IPv4 or IPv6, some with a VLAN tag, or of neither."""
    payload = asked(number)
    payload += bytes(106 - ETH - 28 - len(payload)) + bytes(60) + MARK + struct.pack(">I", number)
    payload += bytes(random.getrandbits(8) for _ in range(random.choice([0, 1, 200, 1000])))
    tos, ttl = random.getrandbits(8), random.choice([1, 64, 200])
    mac = bytes.fromhex("020000000a09020000000a01")
    kind = random.randrange(8)
    if kind == 0:
        return mac + b"\x88\xb5" + bytes(28) + payload
    if kind < 3:
        head = struct.pack(">IHBB", 6 << 28 | tos << 20, len(payload) - 12, 17, ttl)
        return mac + b"\x86\xdd" + head + bytes.fromhex("fd01") + bytes(14) + bytes(4) + payload
    head = struct.pack(">BBHHHBBH", 0x45, tos, 28 + len(payload), number, random.choice([0, 0x4000]), ttl, 17, 0)
    head += bytes([10, 0, 0, 1, 10, 0, 0, 2])
    head = head[:10] + struct.pack(">H", csum(head)) + head[12:]
    return mac + b"\x08\x00" + head + struct.pack(">HHHH", 1000 + number % 7, 2000, 8 + len(payload), 0) + payload


def split(frame):
    """IP header, UDP header, the rest."""
    n = 40 if frame[12:14] == b"\x86\xdd" else 20
    return frame[ETH:ETH + n], frame[ETH + n:ETH + n + UDP], frame[ETH + n + UDP:]


def comparable(frame):
    """Without what each side chooses: IDs, source ports; their sums are checked."""
    ip, udp, rest = split(frame)
    if len(ip) == 20:
        if csum(ip) != 0:
            fail("bad IP checksum: " + frame.hex())
        ip = ip[:4] + bytes(2) + ip[6:10] + bytes(2) + ip[12:]
    if udp[6:] != bytes(2):
        addresses = ip[8:] if len(ip) == 40 else ip[12:]
        if csum(addresses + struct.pack(">HH", 17, len(udp + rest)) + udp + rest) != 0:
            fail("bad UDP checksum: " + frame.hex())
        udp = udp[:6] + b"\xff\xff"
    port = struct.unpack(">H", udp[:2])[0]
    if not 32768 <= port <= 60999:
        fail("UDP source port %d" % port)
    return ip + udp[2:] + rest


def number_of(frame):
    return struct.unpack(">I", frame[frame.index(MARK) + len(MARK):][:4])[0]


def compare(what, kernel, ours):
    kernel, ours = sorted(kernel), sorted(ours)
    if kernel == ours:
        return
    only = [f for f in kernel if f not in ours], [f for f in ours if f not in kernel]
    fail("%s: kernel %d, Sluice %d" % (what, len(kernel), len(ours)))
    for name, frames in zip(("kernel", "Sluice"), only):
        for frame in frames[:4]:
            fail("  only of the %s: %s" % (name, frame.hex()))


def change(frame):
    """An outer frame with some bytes changed, not those by which other layers refuse it."""
    frame = bytearray(frame)
    ip, _, _ = split(bytes(frame))
    n = ETH + len(ip)
    kept = set(range(ETH + 8, ETH + 24)) if len(ip) == 40 else set(range(ETH + 12, ETH + 16)) | {ETH + 6, ETH + 7}
    kept |= {ETH} | ({ETH + 6} if len(ip) == 40 else {ETH + 9}) | {n, n + 1}
    kept |= set(range(ETH + 24, n)) if len(ip) == 40 else set(range(ETH + 16, n))
    inner_at = n + UDP + VXLAN
    for _ in range(random.randrange(1, 3)):
        at = random.choice([i for i in range(ETH, inner_at + 38) if i not in kept and i < len(frame)])
        frame[at] = random.choice([random.getrandbits(8), frame[at] ^ 1 << random.randrange(8)])
    if random.randrange(2) and len(ip) == 20:
        frame[ETH + 10:ETH + 12] = bytes(2)
        frame[ETH + 10:ETH + 12] = struct.pack(">H", csum(bytes(frame[ETH:n])))
    if random.randrange(2) and frame[n + 6:n + 8] != bytes(2):
        addresses = frame[ETH + 8:n] if len(ip) == 40 else frame[ETH + 12:n]
        frame[n + 6:n + 8] = bytes(2)
        value = csum(bytes(addresses) + struct.pack(">HH", 17, len(frame) - n) + bytes(frame[n:])) or 0xFFFF
        frame[n + 6:n + 8] = struct.pack(">H", value)
    if random.randrange(10) == 0:
        frame = frame[:random.randrange(60, len(frame))]
    return bytes(frame)


TUNNEL = "vx0=vxlan,external,gbp,udp6zerocsumrx,nexthop=02:00:00:00:09:09,local=10.9.0.%d,local=fd09::%d,underlay=%s"
frames = [inner(i) for i in range(400)]
by_daemon = "SLUICE_SOCKET" in os.environ

# The kernel's outer packets, and ours over the same link into the kernel's device.
sum_in_software(near, "e0")
wire = packets(far, "e0")
out = packets(far, "o1")
vxlan = packets(near, "vx0")
for frame in frames:
    vxlan.send(frame)
kernel_outer, kernel_through = receive(wire, len(frames)), receive(out, len(frames))
if by_daemon:
    x1, z1 = packets(near, "x1"), packets(near, "z1")
    # Addresses and the next hop as the kernel finds them, by routes and neighbours.
    for net, last in (("10.9.0.", 24), ("fd09::", 64)):
        sluice_does("ip", "address", "add", "%s1/%d" % (net, last), "dev", "net_af_packet0")
        sluice_does("ip", "neigh", "add", net + "9", "lladdr", "02:00:00:00:09:09", "dev", "net_af_packet0")
    sluice_does("run", "--", "ip", "link", "add", "tun0", "type", "vxlan", "external", "gbp", "udp6zerocsumrx",
                "dstport", "4789", "dev", "net_af_packet0")
    filters("net_af_packet1", "classifier/set")
    sluice_does("port", "set", "net_af_packet1", "pass-to", "tun0")
    send_slowly(x1, frames)
    said = sluice_does("port", "list")
else:
    said = forward("--port", "net_pcap0,rx_pcap=" + write_pcap("frames", frames),
                   "--port", "net_af_packet0,iface=e0", "--tunnel", TUNNEL % (1, 1, "net_af_packet0"),
                   "--tc", "net_pcap0,ingress,%s:classifier/set,da" % obj, "--pass-to", "net_pcap0=vx0")
our_outer, our_through = receive(wire, len(frames)), receive(out, len(frames))
if len(kernel_outer) < len(frames) * 0.9:
    fail("the kernel sent %d of %d\n%s" % (len(kernel_outer), len(frames), said))
compare("outer packets", map(comparable, kernel_outer), map(comparable, our_outer))
compare("packets through the kernel's device", kernel_through, our_through)

# The same outer packets, and changed ones, to both.
outer = kernel_outer + [change(random.choice(kernel_outer)) for _ in range(3000)]
for i in range(0, len(outer), 200):
    enter(near)
    link = packets(near, "e0") if i == 0 else link
    for frame in outer[i:i + 200]:
        link.send(frame)
    time.sleep(0.02)
kernel_seen = receive(out, 1 << 30)
ours = [bytes.fromhex("027063617000") + f[6:] for f in outer]
if by_daemon:
    sluice_does("run", "--", "tc", "qdisc", "del", "dev", "net_af_packet1", "clsact")
    sluice_does("tunnel", "add", (TUNNEL % (9, 9, "net_af_packet1")).replace("vx0", "vx1"))
    filters("vx1", "classifier/get")
    sluice_does("port", "set", "vx1", "pass-to", "net_af_packet2")
    send_slowly(x1, ours)
    our_seen = receive(z1, len(kernel_seen))
    said = sluice_does("port", "stats", "vx1")
else:
    said = forward("--port", "net_pcap0,rx_pcap=" + write_pcap("outer", ours),
                   "--port", "net_pcap1,tx_pcap=" + os.path.join(work, "seen"),
                   "--tunnel", TUNNEL % (9, 9, "net_pcap0"),
                   "--tc", "vx0,ingress,%s:classifier/get,da" % obj, "--pass-to", "vx0=net_pcap1")
    our_seen = [f for f in read_pcap("seen") if MARK in f]
if len(kernel_seen) < len(kernel_outer) or len(kernel_seen) > len(outer) - 500:
    fail("the kernel took %d of %d" % (len(kernel_seen), len(outer)))
compare("packets out of the tunnel", kernel_seen, our_seen)
if failed:
    print(said)
sys.exit(failed)
