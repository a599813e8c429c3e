#!/usr/bin/env python3
"""same_elements.py [--raw] THEIRS OURS: whether two dumps hold the same elements.

THEIRS is of `bpftool -j map dump`. OURS is of `sluice map dump --json --raw`, which is compared with what bpftool
formats by BTF; or with --raw another of bpftool's, and the bytes are compared.
"""
import json
import sys


def flat(value):
    """Members of unnamed structs beside their siblings; strings of characters as numbers."""
    if isinstance(value, dict):
        ret = {}
        for name, member in value.items():
            if name == "":
                ret.update(flat(member))
            else:
                ret[name] = flat(member)
        return ret
    if isinstance(value, list):
        return [flat(v) for v in value]
    if isinstance(value, str) and len(value) == 1:
        return ord(value)
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            return value
    return value


def texts(theirs, ours):
    """A char array is text to us when all of it is; bpftool stops at its first zero."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return theirs.keys() == ours.keys() and all(texts(theirs[k], ours[k]) for k in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(texts, theirs, ours))
    if isinstance(theirs, list) and isinstance(ours, str):
        return [v & 255 for v in theirs] == list(ours.encode().ljust(len(theirs), b"\0"))
    if isinstance(theirs, str) and isinstance(ours, list):
        return bytes(v & 255 for v in ours).split(b"\0")[0] == theirs.encode()
    if isinstance(theirs, bool) and isinstance(ours, int):
        return theirs == bool(ours)
    return theirs == ours


def elements(path, raw):
    found = {}
    for element in json.load(open(path)):
        if not raw:
            element = element.get("formatted", element)
        values = element.get("values", element.get("value"))
        key = flat(element["key"])
        found[json.dumps(key, sort_keys=True)] = values if raw else flat(values)
    return found


raw = sys.argv[1] == "--raw"
theirs, ours = (elements(path, raw) for path in sys.argv[-2:])
same = theirs.keys() == ours.keys() and bool(theirs)
for key in theirs.keys() | ours.keys():
    if not texts(theirs.get(key), ours.get(key)):
        same = False
        print(key, "\ntheirs:", json.dumps(theirs.get(key)), "\nours:  ", json.dumps(ours.get(key)))
sys.exit(not same)
