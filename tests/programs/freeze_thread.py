"""Stops one thread of a process by ptrace(2) until standard input ends: freeze_thread.py PID NAME. Says "frozen" once it stands."""

import ctypes
import os
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
__WALL = 0x40000000

pid, name = int(sys.argv[1]), sys.argv[2]
tasks = f"/proc/{pid}/task"
threads = [int(thread) for thread in os.listdir(tasks) if open(f"{tasks}/{thread}/comm").read().strip().startswith(name)]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, threads[0], None, None) < 0:
        sys.exit(f"ptrace: errno {ctypes.get_errno()}")
os.waitpid(threads[0], __WALL)
print("frozen", flush=True)
sys.stdin.read()  # when this process ends, the thread goes on
