"""Be a program that a nursery of `forking.py` forks: `python forked.py SOCKET SCRIPT words …`.

It has what we were started with; signals and its end are passed on, and it is killed when we are.
"""

import json
import os
import signal
import socket
import sys

status, leash = os.pipe(), os.pipe()
with socket.socket(socket.AF_UNIX) as nursery:
    nursery.connect(sys.argv[1])
    order = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ), True]).encode()
    nursery.sendall(len(order).to_bytes(4, "big"))
    socket.send_fds(nursery, [order[:1]], [0, 1, 2, status[1], leash[0]])
    nursery.sendall(order[1:])
os.close(status[1])
os.close(leash[0])
nothing = os.open(os.devnull, os.O_RDWR)
for file in (0, 1, 2):
    os.dup2(nothing, file)
with os.fdopen(status[0], "rb") as lines:
    pid = int(lines.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = os.waitstatus_to_exitcode(int(lines.readline()))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
