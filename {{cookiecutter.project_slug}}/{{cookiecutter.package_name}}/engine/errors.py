"""The error that ends a command before work: one line for the user, exit status 2."""


class RefusedError(Exception):
    """Says in one line what was given, what was expected, and what to do."""
