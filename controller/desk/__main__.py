"""Run the desk: `python -m controller.desk SITE_JSON [--read-only] [--screenshot FILE.svg --screen NAME]`."""

import argparse
import asyncio
import re
import sys
from pathlib import Path

from controller.desk.app import SCREENS, Desk
from controller.desk.orders import mailbox_post
from controller.runtime.mailbox import MailboxError
from controller.runtime.window import Window, WindowError

SIZE = (150, 34)


def svg(desk: Desk) -> str:
    """Return the present screen of a running desk as SVG that fetches nothing: fonts are the reader's own."""
    return re.sub(r"@font-face \{.*?\}\s*", "", desk.export_screenshot(), flags=re.DOTALL)


async def picture(desk: Desk, size: tuple[int, int] = SIZE) -> str:
    """Return the first screen of a desk as SVG, without a terminal."""
    async with desk.run_test(size=size) as pilot:
        await pilot.pause()
        return svg(desk)


def main(argv: list[str] | None = None) -> int:
    """Run the desk and return the exit code: 0, or 3 where there is no run to look at."""
    parser = argparse.ArgumentParser(prog="python -m controller.desk", description="the operator's desk of one run")
    parser.add_argument("site", type=Path, help="site.json of the run")
    parser.add_argument("--read-only", action="store_true", help="post no orders")
    parser.add_argument("--screen", choices=sorted(SCREENS.values()), default="chargers", help="first screen")
    parser.add_argument("--screenshot", type=Path, metavar="FILE.svg", help="draw one picture and leave")
    options = parser.parse_args(argv)
    try:
        window = Window.attach(options.site)
        post = None if options.read_only or options.screenshot else mailbox_post(window)
    except (WindowError, MailboxError) as error:
        print(error, file=sys.stderr)
        return 3
    desk = Desk(window, post, first=options.screen)
    if options.screenshot:
        options.screenshot.write_text(asyncio.run(picture(desk)), encoding="utf-8")
        return 0
    desk.run()
    return desk.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
