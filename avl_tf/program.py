"""How every program starts and fails: flags first, user errors in one line."""

import contextlib
import logging as standard_logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from avl_tf import flag_help, flagfiles, terminal
from avl_tf.errors import MediaError, UserError

# A full disk, memory that does not suffice, a damaged file, a server that is gone; not
# InvalidArgumentError, which is a shape or a type of ours.
_OF_MACHINES = {
    "DataLossError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnavailableError",
}
# A folder where a file should be, and so on; of an operation they are defects too.
_OF_FILE_SYSTEMS = {
    "AlreadyExistsError",
    "FailedPreconditionError",
    "UnimplementedError",
}
_PACKAGES = ("avl_tf", "data_prep", "benchmarks")


def run(main: Callable[..., None], n_arguments: int = 0) -> None:
    """Runs a program's main after its flags are parsed.

    Up to n_arguments that are no flags are main's.

    What a user can mend (a wrong file, a wrong setting: errors raised on purpose, and
    those of the operating system and of file systems) ends the program with one line
    and status 1 (--verbosity=1 shows where it came from); anything else is a defect of
    ours and shows its traceback. Whatever is printed is visible text (avl_tf/terminal).
    """
    terminal.protect()

    def guarded(argv: Sequence[str]) -> None:
        _, *arguments = argv
        if unexpected := arguments[n_arguments:]:
            _fail(
                f"unexpected argument '{unexpected[0]}': settings are flags, "
                "--name=value."
            )
        quiet_log()
        try:
            main(*arguments)
            sys.stdout.flush()
        except KeyboardInterrupt:
            _stopped()
        except Exception as error:
            message = told(error)
            if logging.level_debug() or not message:
                raise
            _fail(message)

    def parse(argv: list[str]) -> list[str]:
        for argument in argv:
            if not argument.isascii() and re.search("[\ud800-\udfff]", argument):
                _fail(f"{argument!a}: not UTF-8, which every name must be. Rename it.")
        if {"--help", "--helpshort", "-h"}.intersection(argv):
            module = main.__module__
            print(flag_help.text(sys.modules[module].__doc__ or "", module), flush=True)
            sys.exit(0)
        return _parse(argv)

    app.run(guarded, flags_parser=parse)


def require_one(*names: str) -> None:
    """Lets a program end with one line unless exactly one of some flags is given."""
    given = " or ".join(f"--{name}" for name in names)
    flags.register_multi_flags_validator(
        names,
        lambda values: sum(map(bool, values.values())) == 1,
        f"Give either {given}.",
    )


def _stopped() -> NoReturn:
    """Ends a program that was interrupted, with one line of it and no more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # of the impatient
    # Libraries that were interrupted too tell of it at length as they end.
    with contextlib.suppress(OSError):
        terminal_fd = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(terminal_fd, b"stopped; what was kept stays\n")
    sys.exit(130)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS([argv[0], *flagfiles.expand(argv[1:])])
        missing = flag_help.missing()
    except flags.IllegalFlagValueError as error:
        # What stands after a wrong value was not read, and so is not missing.
        missing = (flags.FLAGS.is_parsed() and flag_help.missing()) or _slip(error)
    except (UserError, OSError) as error:
        _fail(str(error))
    except flags.Error as error:
        _slip(error)
    if missing:
        _fail(" ".join([*missing, "--helpshort lists the flags."]))
    return rest


def _slip(error: flags.Error) -> NoReturn:
    text = str(error)
    stop = "" if text.endswith((".", "?")) else "."
    _fail(f"{text}{stop} --helpshort lists the flags.")


def _fail(message: str) -> NoReturn:
    print(f"error: {terminal.visible(message)}", file=sys.stderr)
    sys.exit(1)


def told(error: Exception) -> str:
    """The line that a user is told of an error; "" of a defect of ours."""
    if not _is_users(error):
        return ""
    message = " ".join(str(error).split("\n\t")[0].split())
    return message or f"{type(error).__name__}, without a word of why."


def _is_users(error: Exception) -> bool:
    # TensorFlow's are told by their names: importing it takes seconds that not every
    # program needs.
    kind = type(error)
    if kind.__module__.startswith("tensorflow."):
        of_operation = re.search(r"\[Op:|{{", str(error))
        known = _OF_MACHINES if of_operation else _OF_MACHINES | _OF_FILE_SYSTEMS
        return kind.__name__ in known
    return isinstance(error, (UserError, OSError, MediaError))


def quiet_log() -> None:
    """Logs our own progress with the time of day, and only warnings of others."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.INFO)

    def wanted(record: standard_logging.LogRecord) -> bool:
        return record.levelno > standard_logging.INFO or is_ours(record.pathname)

    handler = logging.get_absl_handler()
    handler.addFilter(wanted)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    standard_logging.getLogger("tensorflow").setLevel(standard_logging.WARNING)


class _Formatter(standard_logging.Formatter):
    """Visible text: a message of ours is one line, whatever it tells of."""

    def formatMessage(self, record: standard_logging.LogRecord) -> str:
        if is_ours(record.pathname):
            record.message = terminal.visible(record.message)
        if record.levelno == standard_logging.WARNING:
            record.message = f"warning: {record.message}"
        return super().formatMessage(record)

    def format(self, record: standard_logging.LogRecord) -> str:
        return terminal.visible_lines(super().format(record))


def is_ours(path: str) -> bool:
    """Whether a source file belongs to one of our packages, at whatever depth."""
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    package, *below = os.path.relpath(os.path.abspath(path), top).split(os.sep)
    return package in _PACKAGES and bool(below)
