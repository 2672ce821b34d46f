"""Runs a program on a pseudo-terminal and tells what it did there.

Usage: pseudo_terminal.py COLUMNS ROWS STEPS PROGRAM [ARGUMENT...]

STEPS is JSON: a list of ["await", TEXT], ["type", TEXT], ["resize", COLUMNS, ROWS], ["signal", NAME] and ["run", [WORD...]], done one
after the other. "await" waits until the program has written TEXT since the last "await". Then the program has to end. Standard output
is JSON: the exit code (negative: the signal), what was written after each step, and whether the terminal is as it was.
"""

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time

MAX_S = 60


def resize(terminal, columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def take_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read(master, until_s):
    ready, _, _ = select.select([master], [], [], max(0, min(0.1, until_s - time.monotonic())))
    return os.read(master, 65536).decode("utf-8", "replace") if ready else ""


def main():
    columns, rows, steps, *words = sys.argv[1:]
    master, slave = os.openpty()
    resize(slave, int(columns), int(rows))
    before = termios.tcgetattr(slave)
    child = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)
    written, texts, until_s = "", [], time.monotonic() + MAX_S
    for kind, *how in json.loads(steps):
        if kind == "await":
            while how[0] not in written:
                has_ended = child.poll() is not None
                more = read(master, until_s)
                written += more
                if more == "" and (has_ended or time.monotonic() > until_s):
                    child.kill()
                    sys.exit(f"never wrote {how[0]!r}: {written!r}")
            texts.append(written)
            written = ""
        elif kind == "type":
            os.write(master, how[0].encode())
        elif kind == "resize":
            resize(master, *how)
        elif kind == "signal":
            child.send_signal(getattr(signal, how[0]))
        elif kind == "run":
            subprocess.run(how[0], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while child.poll() is None and time.monotonic() < until_s:
        written += read(master, until_s)
    while text := read(master, time.monotonic() + 0.1):
        written += text
    if child.poll() is None:
        child.kill()
        sys.exit(f"did not end: {written!r}")
    is_restored = termios.tcgetattr(slave) == before
    print(json.dumps({"code": child.returncode, "texts": texts + [written], "isRestored": is_restored}))


main()
