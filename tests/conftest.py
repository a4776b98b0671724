import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def empty_folder(tmp_path_factory):
    """Tests run in an empty folder: no test finds or touches data/ and runs/."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("here"))
    yield
    os.chdir(before)
