"""--help and slips in flags: told at once, and in words of ours."""

import configparser
import re
import resource
import subprocess
import sys

import pytest
from programs import ROOT, environment, fails_in_one_line

# None of them is needed to read flags; TensorFlow alone takes three seconds of CPU.
_HEAVY = {"av", "dask", "distributed", "keras", "matplotlib", "tensorflow", "torch"}
_MOST_S = 1.0  # of CPU time, which is the same on a machine that others use too


def _programs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    commands = setup["options.entry_points"]["console_scripts"].split("\n")
    return [re.search(r"= (\S+):cli", line)[1] for line in commands if line]


def _start(module, *arguments, cwd=None):
    """Runs a program, which must be quick."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu_s < _MOST_S, (module, arguments)
    return done


def _required(help_text):
    """The flags that must be given, of several that exclude each other the first."""
    entries = re.findall(r"^  --(\w+)  \(required(: this or)?", help_text, re.M)
    either = [name for name, others in entries if others]
    return [name for name, others in entries if not others] + either[:1]


@pytest.fixture(scope="module", params=_programs())
def program(request):
    """A program's module, its help, and arguments that give all that it requires."""
    done = _start(request.param, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    needed = [f"--{name}=a=b" for name in _required(done.stdout)]
    return request.param, done.stdout, needed


def test_a_program_file_imports_nothing_that_takes_seconds(program):
    module, _, _ = program
    code = f"import sys, {module}; print(*({_HEAVY} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_help_shows_what_is_required_first(program):
    module, text, _ = program
    assert f"python -m {module}" in text
    assert "absl" not in text and "avl_tf.settings" not in text
    assert max(map(len, text.splitlines())) <= 88
    required = re.search(r"^Required:\n((?:  .*\n)*)", text, re.M)
    first = required[1].count("(required") if required else 0
    assert first == text.count("(required") and bool(first) == bool(_required(text))
    if required:
        assert "\n  --" not in text[: required.start()]


def test_help_shows_defaults_that_hold():
    text = _start("avl_tf.train", "--help").stdout
    for line in (
        "Training:",
        "  --epochs  (default: 30)",
        "  --[no]jit_compile  (default: no)",
        "  --mixed_precision  (one of off, float16, bfloat16; default: off)",
        "  --audio_widths  (default: 128,128,256,512,1024)",
        "  --clip_s  (from 0.1 to 86400; default: 10)",
        "  --records  (required)",
        "  --evaluate",
    ):
        assert f"\n{line}\n" in text
    text = _start("avl_tf.evaluate", "--help").stdout
    assert "  --evaluate  (default: as in the run's training)\n" in text
    assert "  --export  (required: this or --run_dir)\n" in text


def test_a_slip_is_told_at_once_in_one_line(program, tmp_path):
    module, text, needed = program
    fails_in_one_line(_start(module, *needed, "--no_such_flag=1"), "no_such_flag")
    for flagfile, names in (("a.flags", "b.flags"), ("c.flags", "")):
        if names:
            (tmp_path / flagfile).write_text(f"--flagfile={names}\n")
        done = _start(module, *needed, f"--flagfile={flagfile}", cwd=tmp_path)
        fails_in_one_line(done, names or flagfile, "no such flagfile")
        assert done.stderr.count(names or flagfile) == 1 and "ERROR" not in done.stderr
    fails_in_one_line(_start(module, *needed, "stray", "more"), "unexpected argument")
    for name in _required(text):
        given = [flag for flag in needed if not flag.startswith(f"--{name}=")]
        fails_in_one_line(_start(module, *given), f"--{name}")
    if needed:
        done = _start(module)
        fails_in_one_line(done, *(f"--{name}" for name in _required(text)))
        near = f"--{max(_required(text), key=len)[:-1]}=x"
        fails_in_one_line(_start(module, near), "Did you mean")
    if number := re.search(
        r"^  --(\w+)  \([^)]*?(?:from )?(\d\S*) (?:to|or)", text, re.M
    ):
        wrong = f"--{number[1]}={float(number[2]) - 1:g}"
        # What stands behind it is not called missing.
        for given in ([*needed, wrong], [wrong, *needed]):
            fails_in_one_line(_start(module, *given), number[1], "range", number[2])


@pytest.mark.parametrize(
    "module, arguments, texts",
    [
        (
            "avl_tf.train",
            "--run_dir=r --records=x --audio_widths=8,a",
            ["expected int"],
        ),
        ("avl_tf.train", "--run_dir=r --records=x --evaluate=y", ["expected NAME"]),
        (
            "avl_tf.train",
            "--run_dir=r --records=x --batch_size=8 --micro_batch=3",
            ["--micro_batch=3 does not divide the 8 clips"],
        ),
        (
            "avl_tf.train",
            "--run_dir=r --records=x --sync_batch_norm --jit_compile",
            ["leave out --jit_compile"],
        ),
        ("avl_tf.evaluate", "--run_dir=r --export=e", ["either --run_dir or --export"]),
        ("avl_tf.evaluate", "--run_dir=r --evaluate=y", ["expected NAME"]),
        (
            "avl_tf.cascade",
            "--run_dir=r --stages=a=none.flags --evaluate=x=y",
            ["none.flags: no such flagfile"],
        ),
        (
            "avl_tf.cascade",
            "--run_dir=r --stages=a=demo.flags@b --evaluate=x=y",
            ["'a' starts from 'b'", "no run directory"],
        ),
        ("avl_tf.cascade", "--run_dir=r --stages=a --evaluate=x=y", ["name=flagfile"]),
        (
            "avl_tf.import_release",
            "--run_dir=r --checkpoint=a --export_pth=b",
            ["either"],
        ),
        (
            "data_prep.import_release",
            "--pickle=p --out_dir=o --root=r",
            ["--root: only"],
        ),
        ("data_prep.extract", "--manifest=m --out_dir=o", ["m: no such manifest"]),
        (
            "data_prep.build",
            "--videos=v --language=ja --out_dir=o --min_s=60",
            ["no clip"],
        ),
    ],
)
def test_flags_that_do_not_go_together_are_told_at_once(
    module, arguments, texts, tmp_path
):
    fails_in_one_line(_start(module, *arguments.split(), cwd=tmp_path), *texts)


@pytest.mark.parametrize(
    "module, arguments, texts",
    [
        ("avl_tf.train", "--run_dir=r --records=x", ["x: no records here"]),
        ("avl_tf.train", "--run_dir=r --records=x/a", ["looked for x/spec.json"]),
        (
            "avl_tf.train",
            "--run_dir=r --records=here/train --evaluate=a=b",
            ["b: no records here (looked for ./spec.json)"],
        ),
        (
            "avl_tf.train",
            "--run_dir=r --records=here --init_from=x",
            ["x: not a run directory"],
        ),
        (
            "avl_tf.train",
            "--run_dir=r --records=here --image_weights=x",
            ["--image_weights=x"],
        ),
        ("avl_tf.evaluate", "--run_dir=x", ["x: not a run directory"]),
        ("avl_tf.evaluate", "--run_dir=here", ["here: not a run directory"]),
        ("avl_tf.evaluate", "--export=x", ["x: not an export of a run"]),
        ("avl_tf.evaluate", "--export=here --compare=x", ["x: neither a run"]),
        ("avl_tf.evaluate", "--export=here --compare=x.json", ["--compare=x.json"]),
        ("avl_tf.evaluate", "--export=here --evaluate=a=x", ["x: no records"]),
        ("avl_tf.export", "--run_dir=x", ["x: not a run directory", "no such folder"]),
        ("avl_tf.export", "--run_dir=ro/export/1", ["already; give ro."]),
        ("avl_tf.report", "--run_dir=x", ["x: not a run directory"]),
        (
            "avl_tf.cascade",
            "--run_dir=r --stages=a=a.flags --evaluate=a=here",
            ["x: no records here"],
        ),
        (
            "avl_tf.cascade",
            "--run_dir=r --stages=a=demo.flags --evaluate=a=x",
            ["x: no records here"],
        ),
        (
            "avl_tf.cascade",
            "--run_dir=r --stages=a=demo.flags@here --evaluate=a=here",
            ["here: not a run directory"],
        ),
        ("avl_tf.import_release", "--run_dir=r --checkpoint=x", ["x: no such file"]),
        (
            "avl_tf.import_release",
            "--run_dir=x --export_pth=y.pth",
            ["x: not a run directory"],
        ),
        ("data_prep.convert", "--records=x --out_dir=o", ["x: no records here"]),
        ("data_prep.import_release", "--pickle=x --out_dir=o", ["x: no such file"]),
        (
            "data_prep.import_release",
            "--howto100m_csv=x --root=here --out_dir=o",
            ["--howto100m_csv=x: no such file"],
        ),
        (
            "data_prep.import_release",
            "--howto100m_csv=a.flags --root=x --out_dir=o",
            ["x: not the --root (there is no such folder)"],
        ),
    ],
)
def test_a_path_that_is_not_there_is_told_at_once(module, arguments, texts, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "spec.json").write_text("{}")
    (tmp_path / "a.flags").write_text("--records=x\n")
    (tmp_path / "ro" / "export" / "1").mkdir(parents=True)
    (tmp_path / "ro" / "run.json").write_text("{}")
    (tmp_path / "ro" / "export" / "1" / "saved_model.pb").write_text("")
    fails_in_one_line(_start(module, *arguments.split(), cwd=tmp_path), *texts)
    assert not (tmp_path / "r").exists() and not (tmp_path / "o").exists()
