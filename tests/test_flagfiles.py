"""Flagfiles are found by name in any folder, and those of the user come first."""

import os
import pathlib

import pytest
from absl import flags
from programs import fails_in_one_line, run

from avl_tf import flagfiles
from avl_tf.errors import UserError
from avl_tf.settings import stage_flags

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = str(ROOT / "configs" / "demo.flags")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path, *lines):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("name", ["demo.flags", "configs/demo.flags", CONFIG])
def test_a_config_is_found_by_its_name(name):
    assert os.path.samefile(flagfiles.find(name), CONFIG)


@pytest.mark.parametrize("given", ["demo.flags", "configs/demo.flags"])
@pytest.mark.parametrize("there", ["demo.flags", "configs/demo.flags"])
def test_a_file_of_the_current_folder_comes_first(given, there):
    _write(there, "--clip_s=3")
    assert flagfiles.expand([f"--flagfile={given}"]) == ["--clip_s=3"]
    # Named by a config, too.
    assert "--clip_s=3" in flagfiles.expand(["--flagfile=demo_es.flags"])
    assert "--clip_s=6" not in flagfiles.expand(["--flagfile=demo_es.flags"])
    values = stage_flags.read_flagfile("demo_es.flags")
    assert values["clip_s"].value == 3 and values["epochs"].value == 50


def test_a_folder_of_a_configs_name_is_no_file():
    os.mkdir("demo.flags")
    assert os.path.samefile(flagfiles.find("demo.flags"), CONFIG)


def test_a_folder_that_is_not_there_is_no_config():
    with pytest.raises(FileNotFoundError, match="mine/demo.flags: no such.*demo.flags"):
        flagfiles.find("mine/demo.flags")


def test_what_a_flagfile_names_may_be_beside_it():
    _write("far/a.flags", "--flagfile=b.flags", "--x=1")
    _write("far/b.flags", "--y=2")
    assert flagfiles.expand(["--flagfile=far/a.flags"]) == ["--y=2", "--x=1"]
    _write("b.flags", "--y=3")
    assert flagfiles.expand(["--flagfile=far/a.flags"]) == ["--y=3", "--x=1"]


def test_a_flagfile_can_begin_with_the_config_of_its_name():
    _write("demo_es.flags", "--flagfile=demo_es.flags", "--epochs=2")
    expanded = flagfiles.expand(["--flagfile=demo_es.flags"])
    assert expanded[-1] == "--epochs=2" and "--epochs=50" in expanded


@pytest.mark.parametrize("names", [("a", "a"), ("a", "b", "a"), ("x/a", "x/b", "a")])
def test_flagfiles_that_lead_back_to_themselves_are_told(names):
    for name, parent in zip(names, names[1:], strict=False):
        _write(f"{name}.flags", f"--flagfile={parent}.flags")
    _write("x/b.flags", "--flagfile=a.flags")
    with pytest.raises(UserError, match=r"a.flags, which .* names: .*leads to itself"):
        flagfiles.expand([f"--flagfile={names[0]}.flags"])


def test_a_flagfile_that_two_others_name_is_read_twice():
    _write("c.flags", "--z=1")
    for name in ("a", "b"):
        _write(f"{name}.flags", "--flagfile=c.flags")
    assert flagfiles.expand(["--flagfile=a.flags", "--flagfile", "b.flags"]) == [
        "--z=1",
        "--z=1",
    ]


def test_lines_are_stripped_and_comments_left_out():
    text = "\ufeff# first\r\n\r\n  --x=a b  \r\n// no\r\n\t# nor this\n--y='q'\n"
    pathlib.Path("a.flags").write_text(text, encoding="utf-8", newline="")
    arguments = ["--w", "5", "-flagfile=a.flags", "--v=1"]
    expanded = ["--w", "5", "--x=a b", "--y='q'", "--v=1"]
    assert flagfiles.expand(arguments) == expanded
    after = ["--", "--flagfile=a.flags"]
    assert flagfiles.expand(after) == after


def test_expansion_is_that_of_absl_where_absl_finds_the_files():
    _write("b.flags", "--b=1")
    _write("a.flags", "# c", "", "--a=1", "--flagfile=b.flags", "--c=~")
    for arguments in (
        ["--x=1", "--flagfile=a.flags", "--y=2"],
        ["--noz", "--flagfile", "b.flags", "-flagfile=a.flags", "--", "--flagfile=no"],
    ):
        expected = flags.FlagValues().read_flags_from_files(arguments)
        assert flagfiles.expand(arguments) == expected


def test_a_pipe_is_read():
    reading, writing = os.pipe()
    os.write(writing, b"--x=1\n")
    os.close(writing)
    assert flagfiles.expand([f"--flagfile=/dev/fd/{reading}"]) == ["--x=1"]
    os.close(reading)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("demo", "demo.flags"),
        ("demo.flag", "demo.flags"),
        ("Demo_ES.flags", "demo_es.flags"),
        ("configs/youcok2_finetune.flags", "youcook2_finetune.flags"),
    ],
)
def test_names_that_are_near_are_told(name, near):
    with pytest.raises(FileNotFoundError, match=f"^{name}: .*Near are .*{near}"):
        flagfiles.find(name)


@pytest.mark.parametrize("name", ["", "zzz.flags"])
def test_a_name_that_is_near_to_none_is_told(name):
    with pytest.raises(FileNotFoundError, match="package. avl-configs lists"):
        flagfiles.expand([f"--flagfile={name}"])


def test_every_program_finds_configs_and_tells_of_slips(here):
    # Far enough to read it: its flags are unknown to this program.
    done = run("data_prep.table", "--flagfile=demo_es.flags")
    fails_in_one_line(done, "Unknown command line flag 'audio_widths'")
    _write("a.flags", "--flagfile=demo_e.flags")
    done = run("data_prep.table", "--flagfile=a.flags")
    fails_in_one_line(done, "demo_e.flags, which a.flags names: no such", "demo_es")
    pathlib.Path("b.flags").write_bytes(b"--x=\xff")
    fails_in_one_line(run("data_prep.table", "--flagfile=b.flags"), "b.flags: no text")
    fails_in_one_line(run("data_prep.table", "--flagfile"), "--flagfile: which one?")


def test_configs_are_listed_and_printed():
    listed = run("avl_tf.configs").stdout.splitlines()
    names = sorted(path.name for path in (ROOT / "configs").iterdir())
    assert [line.split()[0] for line in listed] == names
    assert all(line.split(maxsplit=1)[1][0] not in "#-" for line in listed)
    for name in ("demo.flags", "configs/demo.flags"):
        assert run("avl_tf.configs", name).stdout == pathlib.Path(CONFIG).read_text()
    fails_in_one_line(run("avl_tf.configs", "demo"), "Near are demo.flags")
    fails_in_one_line(run("avl_tf.configs", "demo.flags", "x"), "unexpected", "'x'")
