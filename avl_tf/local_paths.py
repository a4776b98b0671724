"""A look at the paths of flags before the seconds that TensorFlow takes to import.

Only at what is not there at all, and only at local paths: what else may be wrong, and
those with a ://, are told by what opens them.
"""

import os

from avl_tf.errors import UserError

NO_RUN = (
    "{}: not a run directory (no run.json in it). Give the --run_dir of a finished "
    "avl_tf.train."
)
NO_RECORDS = (
    "{}: no records here (looked for {}). Give a folder that data_prep.extract wrote, "
    "or FOLDER/SPLIT for one split of it."
)


def require_file(flag: str, path: str | None) -> None:
    """Raises FileNotFoundError for a file that is not there; None, "" is none."""
    if path and lacks_file(path):
        raise FileNotFoundError(f"--{flag}={path}: no such file.")


def lacks_file(path: str) -> bool:
    """Whether require_file would raise."""
    return bool(path) and "://" not in path and not os.path.exists(path)


def require_run(path: str | None) -> None:
    """Raises FileNotFoundError for no run directory; None, "" is none."""
    require_folder(path, "not a run directory")
    if path and "://" not in path and not _holds(path, "run.json"):
        raise FileNotFoundError(NO_RUN.format(path))


def require_no_export(run_dir: str) -> None:
    """Raises UserError for an export in place of the run that it was made of."""
    if "://" in run_dir or not _holds(run_dir, "saved_model.pb"):
        return
    above = os.path.dirname(os.path.dirname(os.path.abspath(run_dir)))
    run = os.path.relpath(above) if not os.path.isabs(run_dir) else above
    given = run if _holds(above, "run.json") else "the run directory it was made of"
    raise UserError(f"{run_dir}: this is an export already; give {given}.")


def holds_runs(path: str) -> bool:
    """Whether a local folder is no run directory itself, but holds some."""
    if "://" in path or not os.path.isdir(path) or _holds(path, "run.json"):
        return False
    return any(_holds(entry.path, "run.json") for entry in os.scandir(path))


def require_folder(path: str | None, what: str) -> None:
    """Raises FileNotFoundError if there is no such folder, and so not `what`."""
    if path and "://" not in path and not os.path.isdir(path):
        raise FileNotFoundError(f"{path}: {what} (there is no such folder).")


def require_records(path: str | None) -> None:
    """Raises FileNotFoundError for no records, DIR or DIR/SPLIT; None, "" is none."""
    if path and lacks_records(path):
        path = path.rstrip("/")
        looked_for = os.path.join(_folder(path), "spec.json")
        raise FileNotFoundError(NO_RECORDS.format(path, looked_for))


def lacks_records(path: str) -> bool:
    """Whether require_records would raise."""
    return bool(path) and "://" not in path and not holds_records(path)


def holds_records(path: str) -> bool:
    """Whether there are local records, DIR or DIR/SPLIT."""
    return _holds(_folder(path.rstrip("/")), "spec.json")


def _folder(path: str) -> str:
    return path if os.path.isdir(path) else os.path.dirname(path) or "."


def _holds(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name))
