"""Frames that say what becomes of them (watched.bpf.c), and what a capture says has become of them.

watch_files.py make FILE        writes the frames to a pcap file
watch_files.py check FILE LIST  checks a pcapng file; LIST: verdicts in order, or drop reasons
"""
import ctypes
import struct
import sys

XDP = {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}
# XDP's verdict, whether it is a tail call's, TC's verdict
FRAMES = [(2, 0, 0), (1, 0, 0), (2, 1, 0), (3, 0, 0), (1, 1, 0), (0, 0, 0), (9, 2, 0), (2, 0, 2),
          (2, 2, 0), (3, 1, 0)]


def frame(number):
    xdp, jump, tc = FRAMES[number % len(FRAMES)]
    head = bytes.fromhex("020000000001020000000002") + b"\x88\xb5" + bytes([xdp, jump, tc])
    return head + struct.pack("!I", number) + bytes(41 + number % 5)


def make(path, count):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHIIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for i in range(count):
            f.write(struct.pack("<IIII", i, 0, len(frame(i)), len(frame(i))) + frame(i))


def options(data):
    found = {}
    while data:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            assert data == b"\0\0\0\0", "something after the last option"
            return found
        value = data[4:4 + length]
        assert code not in found, "option %d twice" % code
        found[code] = value
        data = data[4 + (length + 3 & ~3):]
    raise AssertionError("options without an end")


class Capture:
    """A pcapng file, every length of which is looked at."""

    def __init__(self, path):
        data = open(path, "rb").read()
        self.interfaces, self.packets, self.statistics = [], [], {}
        at = 0
        while at < len(data):
            kind, length = struct.unpack_from("<II", data, at)
            assert length % 4 == 0 and length >= 12 and at + length <= len(data), "bad block"
            assert struct.unpack_from("<I", data, at + length - 4)[0] == length, "lengths differ"
            self.block(kind, data[at + 8:at + length - 4], at)
            at += length

    def block(self, kind, body, at):
        if kind == 0x0a0d0d0a:
            assert at == 0 and struct.unpack_from("<IHHq", body) == (0x1a2b3c4d, 1, 0, -1)
            assert options(body[16:])[4] == b"sluice"
        elif kind == 1:
            link, snaplen = struct.unpack_from("<HxxI", body)
            found = options(body[8:])
            assert link == 1 and found[9] == b"\x09"
            self.interfaces.append((found[2].decode(), found[3].decode(), snaplen, found.get(11)))
        elif kind == 6:
            number, high, low, captured, length = struct.unpack_from("<IIIII", body)
            found = options(body[20 + (captured + 3 & ~3):])
            assert number < len(self.interfaces) and captured <= length
            assert (high << 32 | low) > 1600000000 * 10**9
            self.packets.append((self.interfaces[number][0], body[20:20 + captured], length, found))
        elif kind == 5:
            number = struct.unpack_from("<I", body)[0]
            found = options(body[12:])
            self.statistics[self.interfaces[number][0]] = {
                code: struct.unpack("<Q", found[code])[0] for code in (4, 6, 7, 8) if code in found}
        else:
            raise AssertionError("block of type %x" % kind)


def verdict_of(found):
    kind, value = struct.unpack("<Bq", found[7])
    return kind, value


def libpcap_count(path):
    lib = ctypes.CDLL("libpcap.so.0.8")
    lib.pcap_open_offline.restype = ctypes.c_void_p
    lib.pcap_open_offline.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    lib.pcap_next_ex.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    why = ctypes.create_string_buffer(256)
    file = lib.pcap_open_offline(path.encode(), why)
    assert file, why.value
    header, data, n = ctypes.c_void_p(), ctypes.c_void_p(), 0
    while True:
        got = lib.pcap_next_ex(file, ctypes.byref(header), ctypes.byref(data))
        if got != 1:
            assert got == -2, "libpcap refuses packet %d" % n
            return n
        n += 1


def check_rx(path, count):
    """Every frame as it was sent, with the verdict that it asks for."""
    capture = Capture(path)
    assert [i[0] for i in capture.interfaces] == ["net_pcap0@rx"], capture.interfaces
    assert "watched_xdp" in capture.interfaces[0][1]
    assert len(capture.packets) == count, len(capture.packets)
    for i, (_, data, length, found) in enumerate(capture.packets):
        asked = FRAMES[i % len(FRAMES)][0]
        assert data == frame(i) and length == len(data), "packet %d" % i
        assert verdict_of(found) == (2, asked), (i, verdict_of(found))
        assert found[2] == b"\1\0\0\0" and found[6] == b"\0\0\0\0"
    assert capture.statistics["net_pcap0@rx"] == {4: count, 6: count, 7: 0, 8: count}
    assert libpcap_count(path) == count


def check_points(path, count):
    """At all points: as many as there must be, and each drop with its reason."""
    capture = Capture(path)
    seen = {}
    for name, data, _, found in capture.packets:
        seen.setdefault(name, []).append((data, found))
    rounds = count // len(FRAMES)
    tc = [f for f in FRAMES if f[0] == 2]
    expected = {"net_pcap0@rx": len(FRAMES), "net_pcap0@xdp-exit": len(FRAMES),
                "net_pcap0@ingress": len(tc), "net_pcap0@ingress-exit": len(tc),
                "net_pcap0@tx": sum(f[0] == 3 for f in FRAMES), "net_pcap0@drop": 5}
    assert {k: len(v) for k, v in seen.items()} == {k: v * rounds for k, v in expected.items()}
    for data, found in seen["net_pcap0@drop"]:
        xdp, _, tc = data[14], data[15], data[16]
        reason = {0: "xdp_aborted", 1: "xdp_drop", 9: "xdp_invalid"}.get(xdp, "ingress_shot")
        assert found[1] == b"drop: " + reason.encode(), found[1]
        assert verdict_of(found) == ((1, tc) if xdp == 2 else (2, xdp))
    for data, found in seen["net_pcap0@ingress"]:
        assert verdict_of(found) == (1, data[16])
    for _, found in seen["net_pcap0@tx"]:
        assert found[2] == b"\2\0\0\0" and 7 not in found
    assert libpcap_count(path) == len(capture.packets)


def check_filter(path, count):
    """ether[15] != 0, cut to 32 bytes."""
    capture = Capture(path)
    asked = [i for i in range(count) if FRAMES[i % len(FRAMES)][1]]
    assert [p[1] for p in capture.packets] == [frame(i)[:32] for i in asked]
    assert capture.interfaces[0][2:] == (32, b"\0ether[15] != 0")
    assert capture.statistics["net_pcap0@rx"] == {4: count, 6: len(asked), 7: 0, 8: len(asked)}


def check_trace(path, count):
    """The programs and verdicts of each frame, by a line each."""
    lines = open(path).read().splitlines()
    assert len(lines) == count, len(lines)
    for i, line in enumerate(lines):
        xdp, jump, tc = FRAMES[i % len(FRAMES)]
        jumps = {0: [], 1: ["jump_first", "jump_last"], 2: ["jump_last"]}[jump]
        parts = line.split(" | ")
        head = " w0 net_pcap0 q0 len %d 02:00:00:00:00:02 > 02:00:00:00:00:01" % len(frame(i))
        assert head in parts[0], line
        run = parts[1].split()
        names = [word.split("[")[0] for word in run if "[" in word]
        assert run[:2] == ["net_pcap0", "xdp:"] and names == ["watched_xdp"] + jumps, line
        assert run[-1] == XDP.get(xdp, str(xdp)), line
        end = {0: "xdp_aborted", 1: "xdp_drop", 3: "tx", 9: "xdp_invalid"}.get(xdp)
        if xdp == 2:
            assert parts[2].split()[1] == "ingress:" and parts[2].split()[2].startswith("watched_tc")
            end = "ingress_shot" if tc == 2 else "kernel"
        assert parts[-1] == "net_pcap0 " + end, line


if __name__ == "__main__":
    action, file, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    {"make": make, "rx": check_rx, "points": check_points, "filter": check_filter,
     "trace": check_trace}[action](file, frames)
