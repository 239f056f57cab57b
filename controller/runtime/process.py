"""Prepare a child process of a run: who ends it, what it may ask of the kernel, how many BLAS threads it has.

Nothing in here fails where a permission is missing: what was permitted is reported, and the report lands in
`timing.json`, because a figure without it says nothing.
"""

import ctypes
import ctypes.util
import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType

BLAS_ENV = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
PARENT_ENV = "VOLTBENCH_PARENT"  # the supervisor's pid, so that a child started too late knows that it is gone
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_TIMERSLACK = 29  # linux/prctl.h
OPEN_MAX = 10_240  # what macOS takes where it says that there is no limit
MCL_CURRENT = 1  # asm-generic/mman.h
LINUX = sys.platform.startswith("linux")


def _libc() -> ctypes.CDLL:
    """Load the C library with errno kept."""
    return ctypes.CDLL(ctypes.util.find_library("c") or None, use_errno=True)


def _call(name: str, *arguments: int) -> str:
    """Call a C function that answers 0; return "yes" or the text of its errno."""
    if getattr(_libc(), name)(*arguments) == 0:
        return "yes"
    return f"no: {os.strerror(ctypes.get_errno())}"


def die_with_parent(sent: int = signal.SIGTERM) -> str:
    """Ask the kernel to signal this process when its parent's thread ends (Linux); return "yes" or why not.

    The parent must have started it from its main thread. A supervisor that is already gone counts as ended.
    """
    if not LINUX:
        return "no: only Linux signals a child on its parent's death"
    answer = _call("prctl", PR_SET_PDEATHSIG, int(sent), 0, 0, 0)
    if int(os.environ.get(PARENT_ENV, os.getppid())) != os.getppid():
        os.kill(os.getpid(), sent)
    return answer


def ignore_sigint() -> None:
    """Leave Ctrl-C to the supervisor, so that the order of the stop is kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def on_sigterm(act: Callable[[], object]) -> None:
    """Call `act` when the supervisor (or the kernel, on its death) asks this process to end."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        act()

    signal.signal(signal.SIGTERM, handler)


def realtime(priority: int = 40, cpu: int | None = None) -> dict[str, str]:
    """Ask for SCHED_FIFO, locked memory, 1 ns timer slack and one CPU; return what was permitted.

    `priority` is the SCHED_FIFO priority 1..99, `cpu` the CPU number to stay on (None: any). Each value of the
    result starts with "yes" or "no: reason". Memory is locked as it is now (MCL_CURRENT), so call this once the
    process is warm: locking future pages too would let a later allocation fail at the limit.
    """
    if not LINUX:
        return dict.fromkeys(("sched_fifo", "mlockall", "timer_slack", "cpu"), f"no: {sys.platform} is not Linux")
    report = {"timer_slack": _call("prctl", PR_SET_TIMERSLACK, 1, 0, 0, 0), "mlockall": _call("mlockall", MCL_CURRENT)}
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        report["sched_fifo"] = f"yes: priority {priority}"
    except OSError as error:
        report["sched_fifo"] = f"no: {error.strerror}"
    report["cpu"] = f"no: not asked for ({len(os.sched_getaffinity(0))} allowed)"
    if cpu is not None:
        try:
            os.sched_setaffinity(0, {cpu})
            report["cpu"] = f"yes: {cpu}"
        except OSError as error:
            report["cpu"] = f"no: {error.strerror}"
    return report


def ordinary() -> None:
    """Give back what `realtime` may have been granted: scheduling class and locked memory."""
    if not LINUX:
        return
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    _call("munlockall")


def open_files() -> None:
    """Allow this process as many open sockets as the system does: by default often 1,024, and a charger takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = max(soft, OPEN_MAX) if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
