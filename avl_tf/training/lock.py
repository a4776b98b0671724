"""One process at a time trains into a run directory."""

import contextlib
from collections.abc import Iterator

from avl_tf import files


@contextlib.contextmanager
def sole_process(run_dir: str) -> Iterator[None]:
    """Keeps other processes of this machine from training into a run directory.

    As files.locked does; a remote one is not locked.

    Raises:
        ValueError: another process trains into it.
        OSError: the folder cannot be made.
    """
    refusal = (
        f"{run_dir}: another process is training into it. Wait for it, stop it, or use "
        "another --run_dir."
    )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(run_dir, refusal))
        except OSError as error:
            raise OSError(
                f"--run_dir={run_dir} cannot be made ({error.strerror}). Use another."
            ) from error
        yield
