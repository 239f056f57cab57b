"""Name the exit codes of the command line (stable: other tools read them)."""

OK = 0  # done and every verdict passed
FAILED = 1  # a verdict failed
USAGE = 2  # bad arguments or file
DEVICE = 3  # a device or the rig failed
INCONCLUSIVE = 4  # the host, not the product, was late; or a verdict was not exercised
INTERRUPTED = 130  # interrupted, after making safe
