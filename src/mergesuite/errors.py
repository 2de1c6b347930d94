"""The two ways in which a command ends without success."""


class UserError(Exception):
    """Something that the user can mend: exit status 2.

    The message is one line: what was expected, what was found, what to change.
    """


class CheckFailed(Exception):
    """A check ran to its end and its answer is no: exit status 1."""
