#!/usr/bin/env python3
"""telemetry.py SOCKET PROGRAM PACKETS IFINDEX: asks DPDK's telemetry socket for what count_events did."""
import json
import socket
import sys

path, program, packets, ifindex = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.settimeout(10)
sock.connect(path)
limit = json.loads(sock.recv(1024))["max_output_len"]


def ask(command):
    sock.send(command.encode())
    return json.loads(sock.recv(limit))[command.split(",")[0]]


def expect(command, **members):
    answer = ask(command)
    for name, value in members.items():
        if answer is None or answer.get(name) != value:
            sys.exit(f"{command}: {name} is not {value}: {answer}")


commands = ask("/")
for name in ("ports", "port/stats", "workers", "programs", "maps", "drops"):
    if f"/sluice/{name}" not in commands:
        sys.exit(f"no /sluice/{name}")
    if "Returns" not in str(ask(f"/help,/sluice/{name}")):
        sys.exit(f"no help for {name}")
if ask("/sluice/ports") != ["net_ring0", "net_ring1"]:
    sys.exit(f"ports: {ask('/sluice/ports')}")
expect("/sluice/port/stats,net_ring0", live=packets, xdp_drop=packets, drops=packets,
       ifindex=int(ifindex))
other = ask("/sluice/port/stats,net_ring1")["ifindex"]
expect(f"/sluice/port/stats,{other}", name="net_ring1", drops=0)
expect("/sluice/drops", xdp_drop=packets, tx_full=0)
expect("/sluice/drops,net_ring1", xdp_drop=0)
if ask("/sluice/programs") != [int(program)] or len(ask("/sluice/maps")) != 2:
    sys.exit("programs or maps")
expect(f"/sluice/programs,{program}", name="count_events", type="xdp", run_cnt=packets)
if {ask(f"/sluice/maps,{id}")["name"] for id in ask("/sluice/maps")} != {"unread", "flows"}:
    sys.exit("names of maps")
for worker in ask("/sluice/workers"):
    expect(f"/sluice/workers,{worker}", running=1)
for wrong in ("port/stats", "port/stats,none", "port/stats,99", "programs,0", "programs,9999",
              "programs,x", "maps,-1", "maps,99999999999", "workers,99", "ports,x", "drops,none"):
    if ask("/sluice/" + wrong) is not None:
        sys.exit(f"/sluice/{wrong} is answered")
