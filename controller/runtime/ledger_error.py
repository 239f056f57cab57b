"""Name the error of a ledger, apart from what reads one: a command that decides nothing does not import the law."""


class LedgerError(RuntimeError):
    """Report a ledger that cannot be written or is not one."""
