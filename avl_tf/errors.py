"""What a user can mend, told apart from what is a defect of ours."""


class UserError(ValueError):
    """A wrong setting or a wrong input, with what was got, expected and to be done.

    Programs show it as one line (avl_tf/program.py). A ValueError that is none was
    raised by nobody on purpose, and shows its traceback.
    """


class MediaError(Exception):
    """A media file's content cannot be read; the message starts with its path."""
