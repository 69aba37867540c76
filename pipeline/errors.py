"""The one failure that is shown to a person as a sentence. Everything else that is raised is a bug."""


class UserError(Exception):
    """What was found, where, and what to do about it, in one line of plain words."""


class Refused(UserError):
    """A sentence too, but nobody's mistake: the job found that it must not go on."""
