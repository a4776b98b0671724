"""Debian's package of stamps, fetched with apt-get and unpacked without root."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from absl import logging

PACKAGE = "tuxpaint-stamps-default"


class StampsUnavailable(Exception):
    """The package cannot be had on this machine; the text says why."""


def fetch_stamps(out_dir: str) -> str:
    """Fetches Debian's package and unpacks its stamps to out_dir/stamps, once.

    Returns:
        The folder of the stamps.

    Raises:
        StampsUnavailable: there is no apt, or it cannot get the package.
    """
    folder = os.path.join(out_dir, "stamps")
    if os.path.isdir(folder):
        return folder
    os.makedirs(out_dir, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stamps.tmp-", dir=out_dir) as temporary:
        logging.info("Fetching Debian's package %s (161 MB).", PACKAGE)
        download = ["apt-get", "-o", "Acquire::Retries=1", "download", PACKAGE]
        try:
            _run(download, temporary)
        except StampsUnavailable as error:
            if "Unable to locate" not in str(error) or os.geteuid() != 0:
                raise
            _run(["apt-get", "update"], temporary)
            _run(download, temporary)
        package = next(name for name in os.listdir(temporary) if name.endswith(".deb"))
        _run(["dpkg-deb", "-x", package, "unpacked"], temporary)
        share = os.path.join(temporary, "unpacked", "usr", "share")
        stamps = os.path.join(share, "tuxpaint", "stamps")
        # The licence stays with what it covers.
        shutil.copy(os.path.join(share, "doc", PACKAGE, "copyright"), stamps)
        os.rename(stamps, folder)
    return folder


def _run(command: Sequence[str], folder: str) -> None:
    """Runs a command in a folder, silently unless it fails."""
    # C: the message is looked at. apt-get download writes to the working directory.
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise StampsUnavailable(str(error)) from error
    if done.returncode:
        # apt also warns, as root, that it works without its sandbox: not the reason.
        errors = re.findall(r"^E: .*|^dpkg.*", done.stderr, re.MULTILINE)
        reason = errors[-1] if errors else f"status {done.returncode}"
        raise StampsUnavailable(f"{' '.join(command)}: {reason}")
