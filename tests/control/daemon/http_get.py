#!/usr/bin/env python3
"""http_get.py PORT [--path P] [--method M] [--accept A] [--type T] [--status S]: the body of an answer
that has to have this status and type."""
import argparse
import http.client
import sys

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--path", default="/metrics")
parser.add_argument("--method", default="GET")
parser.add_argument("--accept")
parser.add_argument("--type")
parser.add_argument("--status", type=int, default=200)
args = parser.parse_args()
connection = http.client.HTTPConnection("127.0.0.1", args.port, timeout=60)
connection.request(args.method, args.path, headers={"Accept": args.accept} if args.accept else {})
answer = connection.getresponse()
body = answer.read()
if answer.status != args.status:
    sys.exit(f"status {answer.status}")
if args.type and not answer.getheader("Content-Type", "").startswith(args.type + ";"):
    sys.exit(f"type {answer.getheader('Content-Type')}")
sys.stdout.buffer.write(body)
