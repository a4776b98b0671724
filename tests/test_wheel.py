"""The source archive and the wheel hold everything that runs.

The wheel is built from the archive and installed from the package registry into an
environment of its own, with the versions of this one: what setup.cfg forgets to ask for
is not there. Its commands run in an empty folder, with nothing of the clone on their
path.
"""

import configparser
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import narrated
import pytest

ROOT = pathlib.Path(__file__).parent.parent
CHECKPOINT = ROOT / "tests" / "data" / "tiny_avlnet.pth"
# What a clone gets when it is worked in.
MADE = {"build", "data", "runs"}
FEATURES = "--backbone_2d=efficientnet_lite0"


def _run(*command, cwd=None):
    """Runs a command as from a shell that knows nothing of the clone."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def _below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the repository's files without what was made beside them."""

    def made(folder, names):
        here = MADE if folder == str(ROOT) else ()
        hidden = {name for name in names if name.startswith((".", "__pycache__"))}
        return {*here, *hidden, *(n for n in names if n.endswith(".egg-info"))}

    copied = tmp_path_factory.mktemp("source") / "avl_tf"
    return shutil.copytree(ROOT, copied, ignore=made)


@pytest.fixture(scope="module")
def archive(source, tmp_path_factory):
    """The unpacked sdist of the copy, and which files were in the copy before."""
    before = _below(source)
    folder = tmp_path_factory.mktemp("sdist")
    script = f"from setuptools import build_meta; build_meta.build_sdist('{folder}')"
    _run(sys.executable, "-c", script, cwd=source)
    (packed,) = folder.iterdir()
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked, before


@pytest.fixture(scope="module")
def wheel(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = ["wheel", ".", "--no-deps", "--no-build-isolation", "--no-index"]
    command.append(f"--wheel-dir={folder}")
    _run(sys.executable, "-m", "pip", *command, cwd=archive[0])
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of an environment that has the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("installed")
    frozen = _run(sys.executable, *"-m pip freeze --all --exclude-editable".split())
    (folder / "versions.txt").write_text(frozen)
    _run(sys.executable, "-m", "venv", folder / "environment")
    _run(
        folder / "environment" / "bin" / "python",
        *["-m", "pip", "install", f"--constraint={folder}/versions.txt", wheel],
    )
    yield folder / "environment"
    shutil.rmtree(folder / "environment")  # 2 GB


@pytest.fixture(scope="module")
def here(installed, tmp_path_factory):
    """An empty folder but for three videos with speech."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "videos").mkdir()
    for seed in range(3):
        narrated.write_narrated(folder / "videos" / f"{seed}.mp4", seed=seed)
    return folder


def test_the_source_archive_holds_the_whole_repository(archive):
    unpacked, before = archive
    missing = before - _below(unpacked)
    assert not missing


@pytest.mark.slow
def test_the_wheel_holds_every_module_page_and_flagfile(wheel, archive):
    unpacked, before = archive
    packages = {p for p in before if p.startswith(("avl_tf/", "data_prep/"))}
    assert {"avl_tf/train.py", "data_prep/builder/review_page.html"} < packages
    flagfiles = {n for n in before if n.startswith("configs/")}
    assert "configs/demo.flags" in flagfiles
    installed = {n.replace("configs/", "avl_tf/config_files/") for n in flagfiles}
    with zipfile.ZipFile(wheel) as found:
        names = {name for name in found.namelist() if ".dist-info/" not in name}
    assert names == packages | installed


@pytest.mark.slow
def test_the_wheel_finds_its_configs_by_name(wheel, tmp_path):
    """Without its dependencies, which the packages of this environment are."""
    target = tmp_path / "target"
    command = ["pip", "install", "--no-deps", "--no-index", f"--target={target}", wheel]
    _run(sys.executable, "-m", *command)
    # It says where it is, for this environment has the clone on its path too.
    script = """
import sys
sys.path.insert(0, sys.argv.pop())
from avl_tf import configs, flagfiles
print(*flagfiles.expand(["--flagfile=demo_ro.flags"]), flagfiles.find("demo.flags"))
configs.cli()
"""
    told = _run(sys.executable, "-c", script, target, cwd=tmp_path)
    first, *listed = told.splitlines()
    assert "--embedding_dim=256" in first and "--clips_per_recording=32" in first
    assert first.endswith(f"{target}/avl_tf/config_files/demo.flags")
    assert len(listed) == len(list((ROOT / "configs").glob("*.flags")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_the_wheel_tells_its_flags(installed, here):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].split("\n")
    for name in [script.split(" = ")[0] for script in scripts if script]:
        assert "--" in _run(installed / "bin" / name, "--helpshort", cwd=here)
    python = installed / "bin" / "python"
    told = _run(python, "-m", "avl_tf.train", "--helpshort", cwd=here)
    assert "--run_dir" in told
    where = _run(python, "-c", "import avl_tf; print(avl_tf.__file__)", cwd=here)
    assert where.startswith(str(installed))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_videos_to_an_export_with_the_wheel_alone(installed, here):
    def run(command, *arguments):
        return _run(installed / "bin" / command, *arguments, cwd=here)

    run("avl-folder", "--videos=videos", "--language=en", "--manifest=my.jsonl")
    run("avl-extract", "--manifest=my.jsonl", "--out_dir=records", FEATURES)
    evaluate = "--evaluate=my=records"
    # It names a parent, demo.flags.
    stage = ["--flagfile=demo_es.flags", "--epochs=1", "--batch_size=16"]
    run("avl-train", *stage, "--records=records", evaluate, "--run_dir=run")
    table = run("avl-evaluate", "--run_dir=run", evaluate)
    exported = run("avl-export", "--run_dir=run").strip()
    assert run("avl-evaluate", f"--export={exported}", evaluate) == table
    run("avl-import-release", f"--checkpoint={CHECKPOINT}", "--run_dir=release")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_builder_of_the_wheel_writes_its_page(installed, here):
    command = ["--videos=videos", "--language=en", "--out_dir=built"]
    _run(installed / "bin" / "avl-build", *command, cwd=here)
    page = (here / "built" / "review" / "index.html").read_text()
    assert "<script" in page and "2.mp4" in page
