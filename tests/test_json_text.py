"""The one JSON reader: what others take in silence or die of is told in one line."""

import ast
import itertools
import json
import pathlib

import pytest

from avl_tf import fields, json_text
from avl_tf.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent
# Their own texts, made in the same process or by a child of it; and the client, which
# may be copied to where avl_tf is not.
_OWN = {
    "avl_tf/serving/client.py",
    "avl_tf/settings/__init__.py",
    "data_prep/builder/segmenter_process.py",
    "avl_tf/comparing/running.py",
    "avl_tf/comparing/worker.py",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('\ufeff{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf["\xc3\xb6"]', ["ö"]),
        (r'"\ud83d\ude00 \u0001"', "\U0001f600 \x01"),
        ("[" * 100 + "]" * 100, json.loads("[" * 100 + "]" * 100)),
        ("1" * 308, int("1" * 308)),
        ("[1.5e308, -1e-400]", [1.5e308, 0.0]),
        ('{"NaN": "Infinity"}', {"NaN": "Infinity"}),
        ("null", None),
    ],
    ids=itertools.count(),
)
def test_what_is_json_comes_through(text, value):
    assert json_text.parse(text, "f") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[NaN]", r"f: '\[0\]' is nan, expected a finite"),
        ('{"a": {"b": [0, -Infinity]}}', r"'a.b\[1\]' is -inf"),
        ('{"a": 1e400}', "'a' is inf"),
        ('{"a": ' + "9" * 200 + "e150}", "'a' is inf"),
        ('{"a": ' + "9" * 400 + "}", "'a' is a number of hundreds of digits"),
        ('{"a": -' + "9" * 5000 + "}", "f: a number has thousands of digits"),
        (r'{"id": "a\ud800"}', r"'id' holds '\\ud800', half a character"),
        (r'{"id": ["\udc00\ud800"]}', r"'id\[0\]' holds '\\udc00'"),
        (r'{"a\ud800": 1}', "'a key' holds"),
        (r'{"id": "a\u0000b"}', "'id' holds a NUL at character 2"),
        ('{"id": "a\0b"}', "not JSON.*control character"),
        ('{"a": {"b": 1, "b": 1}}', "'b' stands twice in an object"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 100 deep"),
        ("[" * 100_000, "f: not JSON"),
        ('{"a": 1}'.encode("utf-16"), "f: not JSON, as it is not a UTF-8 text"),
        ('{"a": 1}'.encode("utf-16-le"), "f: not JSON"),
        ('{"a": 1}'.encode("utf-32"), "f: not JSON, as it is not a UTF-8 text"),
        (b'{"a": "\xe9"}', "f: not JSON, as it is not a UTF-8 text"),
        ('{"a": True}', "f: not JSON"),
        ("", "f: not JSON"),
    ],
    ids=itertools.count(),
)
def test_what_would_fail_later_is_told(text, message):
    with pytest.raises(UserError, match=message) as error:
        json_text.parse(text, "f")
    assert len(str(error.value)) < 300


def test_what_other_programs_write_is_mended():
    found = json_text.parse_foreign(
        r'{"a\ud800": ["x\u0000y", "\ud83d\ude00", "\ud83d"], "b": NaN, "c": 1e999}',
        "f",
    )
    assert found.pop("b") != found.pop("c") == float("inf")
    assert found == {"a\ufffd": ["x\ufffdy", "\U0001f600", "\ufffd"]}
    with pytest.raises(UserError, match="f: 'v' stands twice"):
        json_text.parse_foreign('{"v": 1, "v": 2}', "f")


def test_a_path_that_is_no_utf_8_can_be_written():
    text = json_text.dump({"media": "b\udcff.mp4", "id": "ö"})
    assert text.encode() == b'{"media": "b\\udcff.mp4", "id": "\xc3\xb6"}'
    assert json.loads(text)["media"] == "b\udcff.mp4"


def test_there_is_no_other_reader():
    found = set()
    for path in [*ROOT.glob("avl_tf/**/*.py"), *ROOT.glob("data_prep/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("load", "loads"):
                if isinstance(node.value, ast.Name) and node.value.id == "json":
                    found.add(str(path.relative_to(ROOT)))
    assert found == _OWN | {"avl_tf/json_text.py"}


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (fields.number(0, 5), True, "'x' must be a number from 0 to 5, got True"),
        (fields.number(0, 5), "3", "got '3'"),
        (fields.number(0), float("nan"), "of 0 or more, got nan"),
        (fields.number(), float("inf"), "must be a number, got inf"),
        (fields.number(), 10**400, "got a huge number"),
        (fields.whole(1, 9), 3.0, "'x' must be a whole number from 1 to 9, got 3.0"),
        (fields.whole(1, 9), False, "got False"),
        (fields.whole(1), 10**5000, "got a huge number"),
        (fields.boolean, "no", "'x' must be true or false, got 'no'"),
        (fields.boolean, 0, "got 0"),
        (fields.text(), "", "must be a text, got ''"),
        (fields.text(3), "abcd", "3 characters at most, got 4"),
        (fields.text(one_line=True), "a\nb", "without control characters"),
        (fields.text(empty=True), "a\0", "'x' holds a NUL"),
        (fields.choice("a", "b"), ["a"], "one of 'a', 'b', got"),
        (fields.items(fields.boolean), [True, 1], r"'x\[1\]' must be true or false"),
        (fields.items(fields.boolean), {}, "must be a list, got {}"),
        (fields.mapping(fields.whole()), {"a": "b"}, "'x.a' must be a whole number"),
        (fields.record({"a": fields.whole()}), {}, "'x.a' is missing"),
        (fields.record({"a": fields.whole()}), {"b": 1}, "unknown field 'x.b'"),
        (fields.record({}), [], "'x' must be an object"),
        (fields.nullable(fields.whole()), "", "must be a whole number"),
    ],
    ids=itertools.count(),
)
def test_a_field_of_another_kind_is_named(check, value, message):
    with pytest.raises(UserError, match=message):
        check(value, "x")


def test_fields_of_their_kind_pass():
    fields.number(0, 1)(0.5, "x")
    fields.nullable(fields.whole())(None, "x")
    fields.text(one_line=True)("日本語 ö", "x")
    fields.record({"a": fields.boolean}, optional="a", others=True)({"b": 1}, "x")
    fields.items(fields.mapping(fields.anything))([{"a": [None, {"b": 1.5}]}], "x")
