"""Imports point one way: data_prep -> avl_tf, programs -> libraries, room to room."""

import ast
import configparser
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("avl_tf/**/*.py"), *ROOT.glob("data_prep/**/*.py")])
# A room (a package, or a module that stands alone) imports from those before it only.
ROOMS = [
    *(
        "errors",
        "local_paths",
        "keras_settings",
        "json_text",
        "fields",
        "comma_lists",
        "wording",
    ),
    *("flagfiles", "settings"),
    *(
        "terminal",
        "offspring",
        "whole_files",
        "spool",
        "media",
        "flag_help",
        "program",
        "progress",
        "files",
        "processors",
        "manifest",
        "spreading",
        "exhibits",
    ),
    *("audio", "images", "losses", "metrics", "mining", "layers", "near_duplicates"),
    *(
        "torch_weights",
        "backbones",
        "still_images",
        "records",
        "extraction",
        "dataset",
        "model",
    ),
    *(
        "checkpoint_files",
        "runs",
        "overlap",
        "evaluation",
        "trained",
        "discovery",
        "unit_analysis",
        "localizing",
        "serving",
        "retrieval",
        "server",
        "release",
        "training",
        "reporting",
        "comparing",
        "commands",
    ),
]
# Closed wings of data_prep: the programs that come in.
WINGS = {"builder": ["build", "speech"], "demo_videos": ["stamps", "stamp_images"]}


def _name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PROGRAMS = {_name(path) for path in MODULES if "def cli()" in path.read_text()}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _rooms(path):
    """The rooms of avl_tf that a module imports from, but for its own."""
    ours = [name.split(".") for name in _imports(path) if name.startswith("avl_tf.")]
    return {parts[1] for parts in ours} - {_name(path).split(".")[1]} - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_one_way(path):
    imported = set(_imports(path))
    assert not PROGRAMS & imported
    assert not any(name.split(".")[0] in ("torch", "PIL", "tests") for name in imported)
    package, *inside = _name(path).split(".")
    if package == "avl_tf":
        assert not any(name.split(".")[0] == "data_prep" for name in imported)
        if inside and _name(path) not in PROGRAMS:
            assert _rooms(path) <= set(ROOMS[: ROOMS.index(inside[0])])
    for wing, doors in WINGS.items():
        if inside[:1] not in [[wing], *([door] for door in doors)]:
            assert not any(name.startswith(f"data_prep.{wing}") for name in imported)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 300


def test_every_room_is_on_the_list():
    rooms = {_name(p).split(".")[1] for p in MODULES if _name(p).startswith("avl_tf.")}
    programs = {name.split(".")[1] for name in PROGRAMS if name.startswith("avl_tf.")}
    assert rooms - programs == set(ROOMS)


def test_every_package_is_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {_name(path) for path in MODULES if path.name == "__init__.py"}
    listed = set(setup["options"]["packages"].split())
    assert listed == packages | {"avl_tf.config_files"}


def test_every_program_is_a_console_command():
    assert "avl_tf.train" in PROGRAMS and "data_prep.extract" in PROGRAMS
    setup = (ROOT / "setup.cfg").read_text()
    for program in PROGRAMS:
        assert f"= {program}:cli" in setup, program
