#!/usr/bin/env python3
"""jump_random.py SLUICE FILE PINS: changes FILE at random in many ways and applies it. What is refused
must be refused with one line and exit status 1, and must have changed nothing."""
import copy
import json
import random
import subprocess
import sys

sluice, path, pins = sys.argv[1:]
rounds = 32
seed = random.randrange(1 << 32)
draw = random.Random(seed)
good = json.load(open(path))
# The same without a load, which takes time.
quick = copy.deepcopy(good)
del quick["objects"]
quick["programs"]["first"] = {"pinned": pins + "/first1"}
quick["programs"]["front"] = {"pinned": pins + "/front1"}


def run(*args, stdin=None):
    return subprocess.run([sluice, "jump", *args], input=stdin, capture_output=True)


def picture():
    tables = [run("show", "pinned", f"{pins}/{m}").stdout for m in ("first", "second", "third")]
    return tables + [run("list").stdout]


def places(node, at=()):
    """All paths into a document."""
    yield at
    if isinstance(node, dict):
        for key in node:
            yield from places(node[key], at + (key,))
    elif isinstance(node, list):
        for i, _ in enumerate(node):
            yield from places(node[i], at + (i,))


def odd():
    return draw.choice([None, True, -1, 0, 1, 3, 4, 1 << 31, 1 << 40, 1.5, "", "x", "first", "a\0b",
                        "/sys/fs/bpf", [], {}, [0], {"id": 1}, {"id": draw.randrange(40)},
                        {"pinned": pins}, {"name": "first"}, {"pinned": pins + "/third1"}, "é" * 300])


def change(document):
    """One change somewhere."""
    at = draw.choice([p for p in places(document) if p])
    parent = document
    for key in at[:-1]:
        parent = parent[key]
    what = draw.randrange(4)
    if what == 0:
        del parent[at[-1]]
    elif what == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[at[-1]]))
    elif what == 2 and isinstance(parent, dict):
        parent[draw.choice(["x", "id", "name", "hook", "old", "program", "section"])] = odd()
    else:
        parent[at[-1]] = odd()


def damaged(text):
    """The text itself, broken."""
    b = bytearray(text.encode())
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(b))
        what = draw.randrange(4)
        if what == 0:
            b[at] = draw.randrange(256)
        elif what == 1:
            del b[at:at + draw.randint(1, 40)]
        elif what == 2:
            b[at:at] = draw.choice([b"[" * 40, b"{", b"\0", b"//", b"'", b",", b"1e999", b'"'])
        else:
            b = b[:max(at, 1)]
    return bytes(b)


before = picture()
refused = 0
for n in range(rounds):
    document = copy.deepcopy(draw.choice([good, quick, quick, quick]))
    for _ in range(draw.randint(1, 3)):
        change(document)
    text = json.dumps(document)
    data = damaged(text) if draw.randrange(3) == 0 else text.encode()
    done = run("apply", "-", stdin=data)
    if done.returncode == 0:
        before = picture()
        continue
    refused += 1
    after = picture() if n % 8 == 7 else before
    if done.returncode != 1 or done.stderr.count(b"\n") != 1 or done.stdout or after != before:
        print(f"seed {seed}, round {n}: exit status {done.returncode}")
        print(data.decode(errors="replace"), done.stderr.decode(errors="replace"), sep="\n")
        sys.exit(1)
if picture() != before:
    print(f"seed {seed}: something has changed")
    sys.exit(1)
if refused < rounds // 2:
    print(f"seed {seed}: only {refused} of {rounds} were refused")
    sys.exit(1)
