"""A disk that fills up: some kilobytes of memory, mounted for the test alone."""

import json
import subprocess
import sys

import pytest

from tests import made_media
from tests.programs import environment

# The command with little room, and again with enough; what lies there after each.
_SCRIPT = """
mount -t tmpfs -o size=24k none "$1" && cd "$1" && shift || exit 99
"$@"; echo "status $?"; find out -type f | sort
mount -o remount,size=4m none . && echo more room
"$@"; echo "status $?"; find out -type f | sort
"""


def _in_a_small_folder(folder, *command):
    """Runs a command in a small file system at folder; returns both parts it prints."""
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", _SCRIPT, "sh", str(folder), *command],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode == 99 or "unshare" in done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stdout}")
    return done.stdout.split("more room\n")


@pytest.mark.slow
def test_extraction_on_a_full_disk_is_one_line_and_goes_on_when_there_is_room(tmp_path):
    frames = [made_media.noise(seed) for seed in range(3)] * 8
    made_media.make_media(tmp_path / "v.mp4", frames, made_media.sine(2.0), fps=12)
    lines = [{"id": name, "media": str(tmp_path / "v.mp4")} for name in "ab"]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    small = tmp_path / "small"
    small.mkdir()
    command = [sys.executable, "-m", "data_prep.extract", f"--manifest={manifest}"]
    command += ["--out_dir=out", "--backbone_2d=efficientnet_lite0", "--workers=1"]
    full, roomy = _in_a_small_folder(small, *command)
    (told,) = [line for line in full.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in told and "Traceback" not in full
    assert full.endswith("status 1\nout/progress/job.json\n")  # no half shard
    assert "status 0" in roomy and "out/spec.json\n" in roomy and ".tmp" not in roomy
