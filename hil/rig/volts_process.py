"""Tell the bench its volts where nothing is emulated: no plant runs then, and the source plays one steady voltage.

`python -m hil.rig.volts_process SITE_JSON VOLTS`, started by the supervisor. It is the bench's heartbeat of the plant
as well: where it falls silent, the source is switched off.
"""

import sys
import time
from pathlib import Path

import numpy as np

from controller.runtime.bench_images import SET_NAME, WantedWriter
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import read_site

PERIOD_S = 0.1


def main(argv: list[str]) -> int:
    """Publish volts until SIGTERM; return 0."""
    ignore_sigint()
    ended: list[int] = []
    on_sigterm(lambda: ended.append(1))
    die_with_parent()
    site = read_site(Path(argv[0]))
    volt_v = np.full(3, float(argv[1]))
    wanted = WantedWriter(site.store(SET_NAME))
    while not ended:
        wanted.write(volt_v, True, time.monotonic_ns())
        time.sleep(PERIOD_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
