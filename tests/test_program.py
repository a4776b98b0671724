"""What a program logs, and which of its errors it takes for the user's."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.programs import ROOT, environment

_SPEAKS = (
    "from absl import logging\ndef speak(of='{}'): logging.info('%s speaks', of)\n"
)
_PROGRAM = """
import {0}
import avl_tf.deep.deeper, other
from avl_tf import program
def main():
    avl_tf.deep.deeper.speak()
    other.speak()
    {1}
program.run(main)
"""


def _start(folder, libraries, ends="pass", imports="os"):
    """Runs a program that uses copies of our package and of another in libraries."""
    shutil.copytree(pathlib.Path(ROOT) / "avl_tf", libraries / "avl_tf")
    for name in ("avl_tf/deep", "other"):
        (libraries / name).mkdir(parents=True)
        (libraries / name / "__init__.py").write_text(_SPEAKS.format(name))
    (libraries / "avl_tf/deep/deeper.py").write_text(_SPEAKS.format("deeper"))
    script = folder / "script.py"
    script.write_text(_PROGRAM.format(imports, ends))
    return subprocess.run(
        [sys.executable, str(script)],
        env=environment() | {"PYTHONPATH": str(libraries)},
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("place", ["checkout", "venv/lib/python3/site-packages"])
def test_a_sub_package_is_heard_and_other_packages_are_not(tmp_path, place):
    done = _start(tmp_path, tmp_path / place)
    assert done.returncode == 0, done.stderr
    assert "deeper speaks" in done.stderr
    assert "other speaks" not in done.stderr


def test_a_warning_is_told_from_progress(tmp_path):
    ends = "logging.warning('%s left', 'none')"
    done = _start(tmp_path, tmp_path / "x", ends, "sys\nfrom absl import logging")
    assert re.search(r"^[\d:]{8} warning: none left$", done.stderr, re.MULTILINE)
    assert done.stderr.count("warning: ") == 1


_HOSTILE = (
    r"a\x1b[31mred\x1b]0;title\x07\x9b2J\rB\x08\x7f\u202egpj\udcff\u2028 "
    r"\u0939\u093f\u200d\xe9"
)


@pytest.mark.parametrize(
    ("ends", "stream"),
    [
        (f"print('{_HOSTILE}')", "stdout"),
        (f"logging.warning('%s', '{_HOSTILE}')", "stderr"),
        (f"raise UserError('{_HOSTILE}')", "stderr"),
        (f"raise OSError(5, 'no', '{_HOSTILE}'.replace('\\u2028', ' '))", "stderr"),
        (f"raise KeyError('{_HOSTILE}').with_traceback(None)", "stderr"),
        (f"warnings.warn('{_HOSTILE}')", "stderr"),
        (f"sys.stderr.writelines(['{_HOSTILE}'])", "stderr"),
        (f"for _ in tqdm(range(3), desc='{_HOSTILE}', disable=False): pass", "stderr"),
    ],
)
def test_foreign_text_reaches_the_terminal_as_visible_text(tmp_path, ends, stream):
    imports = "sys, warnings\nfrom tqdm import tqdm\nfrom absl import logging\n"
    imports += "from avl_tf.errors import UserError\nimport os"
    done = _start(tmp_path, tmp_path / "lib", ends, imports)
    text = getattr(done, stream)
    assert "\\x1b[31mred" in text and "\\u202e" in text and "gpj" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff]", text)
    assert "हि" in text or "\\u0939" in text  # what is no control stays


def test_a_message_of_ours_is_one_line_of_the_log(tmp_path):
    ends = "avl_tf.deep.deeper.speak('a\\n12:00:00 all is well\\tx')"
    done = _start(tmp_path, tmp_path / "lib", ends)
    (line,) = [each for each in done.stderr.splitlines() if "all is well" in each]
    assert line.endswith("a\\n12:00:00 all is well\\tx speaks")


def test_an_error_without_words_is_told_by_its_kind(tmp_path):
    done = _start(tmp_path, tmp_path / "lib", "raise TimeoutError")
    assert done.stderr.splitlines()[-1] == "error: TimeoutError, without a word of why."


@pytest.mark.parametrize(
    "imports, fault, said",
    [
        ("os", "int('a')", "ValueError"),
        ("numpy", "numpy.ones(3) + numpy.ones(4)", "broadcast"),
        ("avl_tf.metrics", "avl_tf.metrics.ranks([[1, 2]])", "square"),
        ("tensorflow", "tensorflow.cast(tensorflow.constant('a'), 'float32')", "Cast"),
        ("tensorflow", "tensorflow.ones(3) + tensorflow.ones(4)", "InvalidArgument"),
    ],
)
def test_what_nobody_raised_on_purpose_shows_its_traceback(
    tmp_path, imports, fault, said
):
    done = _start(tmp_path, tmp_path / "lib", fault, imports)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert "Traceback (most recent call last):" in lines and said in lines[-1]
    assert not any(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize(
    "imports, fault, said",
    [
        (
            "avl_tf.comma_lists",
            "avl_tf.comma_lists.parse_named('x', 'f')",
            "expected NAME",
        ),
        ("tensorflow", "tensorflow.io.gfile.GFile('.').read()", "directory"),
        ("os", "open('nothing')", "No such file"),
        ("tensorflow", "tensorflow.io.gfile.listdir('nothing')", "nothing"),
    ],
)
def test_what_a_user_can_mend_is_one_line(tmp_path, imports, fault, said):
    done = _start(tmp_path, tmp_path / "lib", fault, imports)
    assert done.returncode == 1
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
    assert said in line and "Traceback" not in done.stderr
