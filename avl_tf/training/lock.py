"""One process at a time trains into a run directory."""

import contextlib
from collections.abc import Iterator

from avl_tf import files, whole_files
from avl_tf.errors import UserError


@contextlib.contextmanager
def sole_process(run_dir: str) -> Iterator[None]:
    """Keeps other processes of this machine from training into a run directory.

    The lock is on the folder itself and goes with the process, however it ends. Folders
    that were made for it go too if nothing was written. A remote one is not locked.

    Raises:
        ValueError: another process trains into it.
        OSError: the folder cannot be made.
    """
    if files.is_remote(run_dir):
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(whole_files.locked(run_dir.removeprefix("file://")))
        except BlockingIOError as error:
            raise UserError(
                f"{run_dir}: another process is training into it. Wait for it, stop "
                "it, or use another --run_dir."
            ) from error
        except OSError as error:
            raise OSError(
                f"--run_dir={run_dir} cannot be made ({error.strerror}). Use another."
            ) from error
        yield
