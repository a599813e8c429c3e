#!/usr/bin/env python3
"""http_abuse.py PORT: clients that say nothing, garbage, or too much; others are answered meanwhile."""
import http.client
import random
import socket
import sys
import threading
import time

port = int(sys.argv[1])
random.seed(1)


def connect():
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def scrape():
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    assert connection.getresponse().read().endswith(b"\n")


# Some that say nothing, some that do not read: they have slots, and cost no time.
silent = [connect() for _ in range(10)]
deaf = []
for _ in range(10):
    s = connect()
    s.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    deaf.append(s)
begin = time.monotonic()
for _ in range(5):
    scrape()
assert time.monotonic() - begin < 15, "slow clients delay others"
for garbage in [b"\0" * 100, b"GET\r\n\r\n", b"GET " + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 10000 + b"\r\n",
                b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\nsomething",
                random.randbytes(5000)]:
    s = connect()
    try:
        s.sendall(garbage)
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass
    except OSError:
        pass
    s.close()
    scrape()
# More than there are slots, each a byte now and then: nobody has one for longer than 5 s.
drips = []
for _ in range(60):
    try:
        drips.append(connect())
    except OSError:
        break
result = []
waiting = threading.Thread(target=lambda: result.append(scrape()))
begin = time.monotonic()
waiting.start()
while waiting.is_alive() and time.monotonic() - begin < 60:
    for s in list(drips):
        try:
            s.send(b"G")
        except OSError:
            drips.remove(s)
    time.sleep(0.2)
assert result, "slow clients keep others out"
