"""Starts a program as systemd does for a socket unit: with sockets from descriptor 3 on, and LISTEN_FDS that says so.

with_sockets.py NAMES PLACE... -- PROGRAM ARGUMENT...   A place is an address with a port, or udp for a socket that does not listen.

It keeps the sockets. When the program has ended, each line of standard input starts it again; the end of it ends this one, with the
program's exit code.
"""

import os
import socket
import sys

names, *rest = sys.argv[1:]
end = rest.index("--")
places, program = rest[:end], rest[end + 1:]


def make(place):
    if place == "udp":
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    host, port = place.rsplit(":", 1)
    made = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET, socket.SOCK_STREAM)
    made.bind((host.strip("[]"), int(port)))
    made.listen(128)
    return made


def start():
    child = os.fork()
    if child != 0:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    high = [os.dup2(made.fileno(), 100 + i) for i, made in enumerate(sockets)]
    for i, descriptor in enumerate(high):
        os.dup2(descriptor, 3 + i, inheritable=True)
        os.close(descriptor)
    given = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names, "LISTEN_PID": str(os.getpid())}
    os.execve(program[0], program, {**os.environ, **given})


sockets = [make(place) for place in places]
code = start()
while sys.stdin.readline():
    code = start()
sys.exit(code)
