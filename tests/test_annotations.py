"""data_prep.annotations: the corpora's own files, whole or damaged."""

import pytest

from data_prep import annotations


def test_files_are_found_below_a_folder(tmp_path):
    for name in ("deep/er/list.txt", "other.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = str(tmp_path)
    assert annotations.find_file(folder, "list.txt") == f"{folder}/deep/er/list.txt"
    assert annotations.find_file(folder, "a", "other.txt") == f"{folder}/other.txt"
    assert annotations.optional_file(folder, "a", "b") is None
    with pytest.raises(FileNotFoundError, match="no a or b in it or below"):
        annotations.find_file(folder, "a", "b")
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        annotations.optional_file(f"{folder}/none", "a")
    (tmp_path / "list.txt").touch()
    with pytest.raises(ValueError, match="several files are named list.txt"):
        annotations.find_file(folder, "list.txt")


def test_tables_are_read_as_others_write_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffname,text\r\na,"x, ""y"""\r\n\r\nb,\r\n'.encode())
    rows = annotations.read_table(str(path), ["text"])
    assert rows == [{"name": "a", "text": 'x, "y"'}, {"name": "b", "text": ""}]
    path.write_text("1, 0.5 ,2\n")
    assert annotations.read_cells(str(path), 3) == [["1", "0.5", "2"]]
    path.write_text("\n a b \r\n\n")
    assert annotations.read_lines(str(path)) == ["a b"]


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (annotations.read_json, b"{", "not JSON"),
        (annotations.read_json, b"[]", "expected a dict in it, got a list"),
        (
            lambda p: annotations.read_json(p, (list, dict)),
            b"3",
            "expected a list or dict in it, got a int",
        ),
        (annotations.read_json, b"\xff{}", "not a UTF-8 text file"),
        (annotations.read_lines, b"\xff", "not a UTF-8 text file"),
        (lambda p: annotations.read_table(p, ["a"]), b"b\n1\n", "the header a, got b"),
        (lambda p: annotations.read_table(p, ["a"]), b"a,b\n1\n", "row 1 has not 2"),
        (lambda p: annotations.read_table(p, ["a"]), b"a\n\xff\n", "not a UTF-8"),
        (lambda p: annotations.read_cells(p, 2), b"1,2\n1,2,3\n", "row 2 has not 2"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, read, content, message):
    path = tmp_path / "file.x"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read(str(path))
    assert str(error.value).startswith(str(path))
    with pytest.raises(FileNotFoundError, match="none: no such file"):
        read(str(tmp_path / "none"))
