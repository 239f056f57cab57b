"""Name the error of a network, apart from what builds one, so that a command that needs no plant imports none."""


class NetworkError(RuntimeError):
    """Report a network that cannot be built or whose two solutions do not agree."""
