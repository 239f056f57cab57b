"""Open the sockets of twins, and say in words where that cannot be done."""

import errno
from collections.abc import Awaitable

HOST = "127.0.0.1"


class PortInUse(RuntimeError):
    """Report a twin that cannot listen: its device, the port and what to do."""


async def listen(device: str, port: int, started: Awaitable[int]) -> int:
    """Wait for a twin of `device` to open its socket and return the port; PortInUse names the device."""
    try:
        return await started
    except OSError as error:
        place = f"port {port}" if port else "a free port"
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        advice = "end what listens there, or give another port in the rig (0: a free one)"
        raise PortInUse(f"{device}: {place} on {HOST} {reason}; {advice}") from error
