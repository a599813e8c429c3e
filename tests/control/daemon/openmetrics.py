#!/usr/bin/env python3
"""openmetrics.py FILE [SERIES=VALUE...]: checks a text against OpenMetrics 1.0, and values in it.

openmetrics.py --prometheus FILE [...]: against Prometheus' text format 0.0.4.
openmetrics.py --families FILE: the families' names, types and help texts, a line each.

Strict where the standard is: nothing is skipped that is not understood. A series is written as in
the text; its value is compared as a number.
"""
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(\{{{LABEL}(?:,{LABEL})*\}})? (-?[0-9.eE+-]+|NaN|[+-]Inf)")
META = re.compile(rf"# (TYPE|UNIT|HELP) ({NAME}) ?(.*)")
SUFFIXES = {
    True: {"counter": ["_total", "_created"], "gauge": [""], "info": ["_info"],
           "histogram": ["_bucket", "_count", "_sum", "_created"]},
    False: {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]},
}


class Wrong(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Wrong(what)


class Text:
    def __init__(self, text, openmetrics):
        self.families = {}
        self.values = {}
        self.openmetrics = openmetrics
        self.current = None
        need(text.endswith("\n"), "the last line has no end")
        lines = text[:-1].split("\n")
        if openmetrics:
            need(lines.pop() == "# EOF", "no # EOF")
        for number, line in enumerate(lines, 1):
            try:
                self.line(line)
            except Wrong as e:
                raise Wrong(f"line {number}: {e}: {line}") from e
        for name, family in self.families.items():
            need("type" in family, f"{name} has no type")
            need("help" in family, f"{name} has no help")
            if family["type"] == "histogram":
                self.histogram(name)

    def line(self, line):
        if line.startswith("#"):
            match = META.fullmatch(line)
            need(match, "not a description")
            kind, name, rest = match.groups()
            need(rest, "an empty description")
            self.describe(kind.lower(), name, rest)
            return
        match = SAMPLE.fullmatch(line)
        need(match, "not a sample")
        name, labels, value = match.groups()
        self.sample(name, labels or "", float(value))

    def describe(self, kind, name, rest):
        if name != self.current:
            need(name not in self.families, "the family stands in two places")
            self.families[name] = {}
            self.current = name
        family = self.families[name]
        need(kind not in family, "described twice")
        need("samples" not in family, "described after a sample")
        family[kind] = rest
        if kind == "type":
            need(rest in SUFFIXES[self.openmetrics], "no such type")
            need(not self.openmetrics or not name.endswith(("_total", "_info", "_bucket")),
                 "a suffix in the family's name")
            need(self.openmetrics or rest != "counter" or name.endswith("_total"), "no _total")
        if kind == "unit":
            need(self.openmetrics, "a unit")
            need(name.endswith("_" + rest), "the unit does not end the name")

    def sample(self, name, labels, value):
        family = self.families.get(self.current)
        need(family and "type" in family, "a sample without a family")
        suffix = name[len(self.current):]
        need(name.startswith(self.current), "of another family")
        need(suffix in SUFFIXES[self.openmetrics][family["type"]], "not a name of the family")
        names = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="', re.sub(r"\\.", "", labels))
        need(len(names) == len(set(names)), "a label twice")
        need(("le" in names) == (suffix == "_bucket"), "le")
        need(name + labels not in self.values, "a series twice")
        if family["type"] in ("counter", "histogram"):
            need(value >= 0, "negative")
        if family["type"] == "info":
            need(value == 1, "an info that is not 1")
        family["samples"] = True
        self.values[name + labels] = value

    def histogram(self, name):
        series = {}
        for key, value in self.values.items():
            match = re.fullmatch(rf'{name}_bucket\{{(.*),le="([^"]*)"\}}', key)
            if match:
                series.setdefault(match[1], []).append((float(match[2]), value))
        need(series, f"{name} has no buckets")
        for labels, buckets in series.items():
            need(buckets == sorted(buckets), f"{name}: buckets out of order")
            counts = [count for _, count in buckets]
            need(counts == sorted(counts), f"{name}: buckets do not add up")
            need(buckets[-1][0] == float("inf"), f"{name}: no +Inf")
            need(self.values[f"{name}_count{{{labels}}}"] == counts[-1], f"{name}: count")
            need(f"{name}_sum{{{labels}}}" in self.values, f"{name}: no sum")


def main(args):
    mode = args.pop(0) if args[0].startswith("--") else ""
    with open(args.pop(0), encoding="utf-8") as f:
        text = Text(f.read(), mode != "--prometheus")
    if mode == "--families":
        for name, family in text.families.items():
            print(name, family["type"], family["help"])
    for expected in args:
        series, value = expected.rsplit("=", 1)
        need(series in text.values, f"there is no {series}")
        need(text.values[series] == float(value), f"{series} is {text.values[series]:.0f}")


try:
    main(sys.argv[1:])
except Wrong as e:
    sys.exit(f"openmetrics: {e}")
