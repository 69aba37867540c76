"""The one failure that is shown to a person as a sentence. Everything else that is raised is a bug."""


class UserError(Exception):
    """What was found, where, and what to do about it, in one line of plain words."""
