"""Make the folder of a run's shared images, and sweep what killed runs left behind."""

import os
import shutil
import tempfile
from pathlib import Path

SITE = "site.json"
PLAN = "plan.bin"
TMPFS = Path("/dev/shm")
PREFIX = "voltbench-"


def make_store_dir() -> Path:
    """Make the folder of the shared images, on a tmpfs where there is one, and sweep those of killed runs.

    The folder's name carries the pid of its run; one whose process is gone belongs to nobody.
    """
    root = TMPFS if TMPFS.is_dir() else Path(tempfile.gettempdir())
    for left in root.glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's, so it lives
        return True
    return True
