#!/usr/bin/env python3
"""observability.py METRICS: what docs/observability.md lists are the metrics of this text, and the
dashboard uses no other, nor other labels."""
import json
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[3]
text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
samples = set(re.findall(r"^(sluice_\w+)", text, re.M))
labels = {}
for name, inside in re.findall(r"^(\w+)\{(.*)\} ", text, re.M):
    labels.setdefault(name, set()).update(re.findall(r'(\w+)="', inside))

# The page's table.
suffix = {"counter": "_total", "info": "_info"}
made = []
for name, kind in types.items():
    shown = name + suffix.get(kind, "")
    first = shown + "_count" if kind == "histogram" else shown
    with_labels = ", ".join(f"`{label}`" for label in sorted(labels.get(first, ())))
    made.append(f"| `{shown}` | {kind} | {with_labels} | {helps[name].rstrip('.')} |")
page = (root / "docs/observability.md").read_text(encoding="utf-8")
rows = re.findall(r"^\| `sluice_.*\|$", page, re.M)
for row in made:
    if row not in rows:
        print(f"docs/observability.md lacks: {row}")
for row in rows:
    if row not in made:
        print(f"docs/observability.md has: {row}")

# The dashboard.
dashboard = json.loads((root / "control/package/grafana.json").read_text(encoding="utf-8"))
wrong = set()
for panel in dashboard["panels"]:
    for target in panel["targets"]:
        used = re.findall(r"\bsluice_\w+", target["expr"])
        wrong |= set(used) - samples
        known = set.union({"instance"}, *(labels.get(name, set()) for name in used))
        asked = set(re.findall(r"(\w+)=~", target["expr"]))
        asked |= set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        for by in re.findall(r"by \(([^)]*)\)", target["expr"]):
            asked |= set(re.split(r",\s*", by))
        wrong |= {f"{label} of {used}" for label in asked - known}
    assert panel["targets"], panel["title"]
for variable in dashboard["templating"]["list"]:
    if variable["type"] == "query":
        wrong |= set(re.findall(r"\bsluice_\w+", variable["query"]["query"])) - samples
for what in sorted(wrong):
    print(f"the dashboard uses what there is not: {what}")
sys.exit(rows != made or bool(wrong))
