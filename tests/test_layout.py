"""Imports point one way: data_prep -> avl_tf, programs -> libraries."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("avl_tf/**/*.py"), *ROOT.glob("data_prep/**/*.py")])
PROGRAMS = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    for path in MODULES
    if "def cli()" in path.read_text()
}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    imported = set(_imports(path))
    assert not PROGRAMS & imported
    assert not any(name.split(".")[0] in ("torch", "PIL", "tests") for name in imported)
    if path.parts[len(ROOT.parts)] == "avl_tf":
        assert not any(name.split(".")[0] == "data_prep" for name in imported)


def test_every_program_is_a_console_command():
    assert "avl_tf.train" in PROGRAMS and "data_prep.extract" in PROGRAMS
    setup = (ROOT / "setup.cfg").read_text()
    for program in PROGRAMS:
        assert f"= {program}:cli" in setup, program
