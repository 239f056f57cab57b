"""Name what can be wrong with a profile."""


class ProfileError(ValueError):
    """Report data that cannot be used: `file:key` or `file:row`, the value with its unit, what is allowed."""
