"""How every program starts and fails: flags first, user errors in one line."""

import sys
from collections.abc import Callable, Sequence

from absl import app, logging

from avl_tf.media import MediaError


def run(main: Callable[[], None]) -> None:
    """Runs a program's main after its flags are parsed.

    What a user can mend (a wrong file, a wrong setting) ends the program with one line
    and status 1 (--verbosity=1 shows where it came from); anything else is a defect of
    ours and shows its traceback.
    """

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(
                f"unexpected argument '{argv[1]}': every setting is a flag, --name=value."
            )
        logging.set_verbosity(logging.INFO)
        try:
            main()
        except (ValueError, OSError, MediaError) as error:
            if logging.level_debug():
                raise
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    app.run(guarded)
