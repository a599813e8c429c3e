#!/usr/bin/env python3
"""stats_json.py FILE PROGRAM PACKETS: the form of `sluice stats --json`, and sums that must agree."""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    stats = json.load(f)
program, packets = int(sys.argv[2]), int(sys.argv[3])

N, S, B = int, str, bool
FORM = {
    "version": S, "time_ns": N, "cycles_hz": N,
    "ports": [{
        "name": S, "ifindex": N, "driver": S, "mac": S, "rx_queues": N, "tx_queues": N,
        "receive_packets": N, "receive_bytes": N, "receive_missed": N, "receive_errors": N,
        "receive_nombuf": N, "transmit_packets": N, "transmit_bytes": N, "transmit_errors": N,
        "drops": N, "up": N, "speed": N, "mtu": N, "mbufs": N, "mbufs_free": N,
        "verdicts": {"xdp": {str: N}, "ingress": {str: N}, "egress": {str: N}},
        "drops_by_reason": {str: N}, "counters": {str: N},
        "programs": [{"hook": S, "position": N, "id": N}],
    }],
    "workers": [{
        "worker": N, "cpu": N, "running": B, "packets": N, "bursts": N, "empty_polls": N,
        "busy_cycles": N, "idle_cycles": N, "cpu_time_ns": N,
        "burst_sizes": [{"up_to": N, "bursts": N}],
    }],
    "programs": [{
        "id": N, "name": S, "type": S, "tag": S, "run_cnt": N, "run_time_ns": N, "cycles": N,
        "workers": [{"worker": N, "run_cnt": N, "run_time_ns": N, "cycles": N}],
    }],
    "maps": [{"id": N, "name": S, "type": S, "key_size": N, "value_size": N, "max_entries": N,
              "memory_bytes": N, "entries?": N, "lost_events?": N}],
    "totals": {"drops_by_reason": {str: N}, "counters": {str: N}},
}


def check(value, form, at):
    if isinstance(form, list):
        assert isinstance(value, list), at
        for i, element in enumerate(value):
            check(element, form[0], f"{at}[{i}]")
    elif isinstance(form, dict):
        assert isinstance(value, dict), at
        if str in form:
            for name, element in value.items():
                check(element, form[str], f"{at}.{name}")
            return
        for name, element in form.items():
            optional, name = name.endswith("?"), name.rstrip("?")
            assert optional or name in value, f"{at} has no {name}"
            if name in value:
                check(value[name], element, f"{at}.{name}")
        known = {name.rstrip("?") for name in form}
        assert set(value) <= known, f"{at}: {set(value) - known} is in no description"
    else:
        assert type(value) is form, f"{at} is {value}"


def same(what, a, b):
    assert a == b, f"{what}: {a} and {b}"


check(stats, FORM, "stats")
ports = {port["name"]: port for port in stats["ports"]}
port = ports["net_ring0"]
same("ports", sorted(ports), ["net_ring0", "net_ring1"])
same("at the hook", port["programs"], [{"hook": "xdp", "position": 0, "id": program}])
same("arrived", port["counters"]["live"], packets)
same("drops", port["drops"], packets)
for port in stats["ports"]:
    same("reasons", sum(port["drops_by_reason"].values()), port["drops"])
for name, value in stats["totals"]["counters"].items():
    same(f"total of {name}", sum(port["counters"][name] for port in stats["ports"]), value)
for worker in stats["workers"]:
    same("bursts", sum(size["bursts"] for size in worker["burst_sizes"]), worker["bursts"])
found = {program["id"]: program for program in stats["programs"]}[program]
same("runs", found["run_cnt"], packets)
same("workers' runs", sum(runs["run_cnt"] for runs in found["workers"]), packets)
assert found["cycles"] > 0 and found["run_time_ns"] > 0, "no time"
maps = {one["name"]: one for one in stats["maps"]}
same("entries", maps["flows"]["entries"], 3)
same("lost", maps["unread"]["lost_events"], packets)
