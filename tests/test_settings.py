import ast
import dataclasses
import pathlib
import re

import pytest
from absl import flags
from programs import fails_in_one_line, run

from avl_tf import comma_lists, settings
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.settings import setting, stage_flags
from avl_tf.settings.stage import StageConfig

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
# Of no stage, by their program.
PROGRAM_OF = {
    "cascade": "^cascade_",
    "evaluate": "_evaluate",
    "bilingual": r"^bilingual_demo|^places_(hindi|japanese)\.",
    "sweep": r"^ablation_(?!.*_base\.)",
}
# The corpora's go with test_path.py and test_stamp_images.py.
OTHERS = re.compile("|".join([*PROGRAM_OF.values(), "_corpus"]))
# What several stages share, and systems for a language that their comparison names.
WITHOUT_RECORDS = re.compile("^demo|bilingual|^places_|^harwath|^ohishi|^dist|^davenet")
PROGRAM_FILES = [
    path
    for package in ("avl_tf", "data_prep", "benchmarks")
    for path in ROOT.glob(f"{package}/**/*.py")
    if path != ROOT / "avl_tf" / "settings" / "__init__.py"
]


@dataclasses.dataclass(frozen=True)
class _Example:
    derived: int = 3
    steps: int = setting(4, "Steps.", lower=1)
    rate: float = setting(0.5, "Rate.")
    mode: str = setting("a", "Mode.", choices=("a", "b"))
    names: tuple[str, ...] = setting((), "Names.")
    widths: tuple[int, ...] = setting((1, 2), "Widths.")
    loud: bool = setting(False, "Loud.")
    limit: int | None = setting(None, "Limit.", lower=1)
    only: tuple[str, ...] | None = setting(None, "Only these.")


def _parse(*arguments):
    flag_values = flags.FlagValues()
    settings.define_flags(_Example, flag_values)
    flag_values(["program", *arguments])
    return flag_values


def test_defaults_come_through_the_flags():
    assert settings.from_flags(_Example, _parse()) == _Example()


def test_flags_set_every_kind_of_setting():
    flag_values = _parse(
        *("--steps=7", "--rate=2", "--mode=b", "--names=x,y", "--widths=5", "--loud"),
        *("--limit=2", "--only=z"),
    )
    found = settings.from_flags(_Example, flag_values)
    assert found == _Example(3, 7, 2.0, "b", ("x", "y"), (5,), True, 2, ("z",))


def test_a_list_that_is_given_empty_is_not_left_out():
    assert settings.from_flags(_Example, _parse()).only is None
    assert settings.from_flags(_Example, _parse("--only=")).only == ()


def test_a_required_setting_must_be_given():
    config_class = dataclasses.make_dataclass(
        "_Required", [("path", str, setting(None, "Where.", required=True))]
    )
    flag_values = flags.FlagValues()
    settings.define_flags(config_class, flag_values)
    with pytest.raises(flags.IllegalFlagValueError, match="--path must have a value"):
        flag_values(["program"])
    flag_values(["program", "--path=x"])
    assert settings.from_flags(config_class, flag_values).path == "x"


def test_only_given_flags_change_a_base():
    base = _Example(derived=9, steps=8, rate=0.1)
    found = settings.from_flags(_Example, _parse("--rate=3"), base)
    assert found == dataclasses.replace(base, rate=3.0)


def test_a_flagfile_written_from_settings_reads_back(tmp_path):
    config = _Example(steps=9, names=("p", "q"), widths=(7, 8), loud=True)
    path = tmp_path / "flags.txt"
    path.write_text(settings.to_flagfile(config))
    arguments = path.read_text().split()
    assert settings.from_flags(_Example, _parse(*arguments)) == config
    assert "--limit" not in path.read_text()


@dataclasses.dataclass(frozen=True)
class _Outer:
    name: str
    inner: _Example = _Example()
    listed: tuple[int, ...] = (1, 2)


def test_changes_are_named_and_new_settings_count_as_their_defaults():
    before = settings.plain(_Outer("a", listed=()))
    assert (
        settings.changes(before, settings.plain(_Outer("a", listed=())), _Outer) == []
    )
    now = settings.plain(_Outer("b", _Example(steps=5), (3,)))
    assert settings.changes(before, now, _Outer) == [
        "name was a, now b",
        "inner.steps was 4, now 5",
        "listed was [], now [3]",
    ]
    assert settings.changes({"name": "a"}, now, _Outer) == [
        "name was a, now b",
        "inner.steps was 4, now 5",
        "listed was [1, 2], now [3]",
    ]
    del before["inner"]["steps"]
    assert (
        settings.changes(before, settings.plain(_Outer("a", listed=())), _Outer) == []
    )
    assert "inner.steps was 4, now 5" in settings.changes(before, now, _Outer)


def test_named_items_are_read():
    items = ["a=b", " c = d=e "]
    assert comma_lists.parse_named(items, "sets") == {"a": "b", "c": "d=e"}
    for wrong in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(ValueError, match="--sets: expected NAME=FILE,NAME=FILE"):
            comma_lists.parse_named(wrong, "sets", "FILE")


@pytest.mark.parametrize(
    "argument", ["--steps=0", "--steps=x", "--mode=c", "--unknown=1"]
)
def test_a_wrong_flag_is_an_error(argument):
    with pytest.raises(flags.Error):
        _parse(argument)


def test_a_list_of_non_numbers_is_an_error_that_names_the_flag():
    with pytest.raises(ValueError, match="--widths: expected ints"):
        settings.from_flags(_Example, _parse("--widths=1,two"))


def test_no_two_configurations_share_a_flag():
    names = [
        field.name
        for config_class in (StageConfig, ClipConfig, EvaluationConfig, ModelConfig)
        for field in dataclasses.fields(config_class)
        if "help" in field.metadata
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--epohcs=3\n", "epohcs"),
        ("--epochs=three\n", "epochs"),
        ("epochs=3\n", "is not a flag"),
    ],
)
def test_a_wrong_flagfile_is_an_error_that_names_it(tmp_path, text, message):
    path = tmp_path / "stage.flags"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        stage_flags.read_flagfile(str(path))
    assert str(path) in str(error.value)


def test_a_missing_flagfile_is_an_error():
    with pytest.raises(FileNotFoundError, match="no-such.flags"):
        stage_flags.read_flagfile("no-such.flags")


@pytest.mark.parametrize(
    "path",
    [p for p in CONFIGS.glob("*.flags") if not OTHERS.search(p.name)],
    ids=lambda path: path.name,
)
def test_every_stage_flagfile_parses(path):
    flag_values = stage_flags.read_flagfile(str(path))
    stage = settings.from_flags(StageConfig, flag_values)
    assert stage.records or WITHOUT_RECORDS.search(path.name)
    assert path.read_text().startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "program, name",
    [
        (program, path.name)
        for program, names in PROGRAM_OF.items()
        for path in CONFIGS.glob("*.flags")
        if re.search(names, path.name)
    ],
)
def test_every_other_flagfile_parses_with_its_program(program, name, tmp_path):
    """Far enough to miss the data, which are not there."""
    done = run(f"avl_tf.{program}", f"--flagfile={name}", "--run_dir=run", cwd=tmp_path)
    fails_in_one_line(done)
    missing = ("data/", "runs/avlnet", "run: not a run directory")
    assert any(text in done.stderr for text in missing)


def test_a_setting_that_shapes_weights_is_marked_at_its_field():
    @dataclasses.dataclass(frozen=True)
    class Head:
        width: int = setting(4, "Width.", shapes_weights=True)
        dropout: float = setting(0.0, "Dropout.")

    assert settings.shaping(Head) == ["width"]
    # A branch of one's own starts from a shared one, and the other way round.
    unmarked = {"visual_scale", "mask_padding_in_training", "pad_db", "shared_audio"}
    unmarked |= {"normalize_embeddings", "jitter", "vq_compat"}
    unmarked |= {"commitment_cost", "codebook_decay"}
    unmarked |= {"visual_streams", "visual_pooling"}
    names = {f.name for f in dataclasses.fields(ModelConfig) if "help" in f.metadata}
    assert set(settings.shaping(ModelConfig)) == names - unmarked


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "NaN", "-1e300"])
def test_a_number_that_is_not_finite_is_told(value, tmp_path):
    flag_values = flags.FlagValues()
    settings.define_flags(ModelConfig, flag_values)
    with pytest.raises(flags.Error, match="--pad_db=.* in the range"):
        flag_values(["test", f"--pad_db={value}"])
    path = tmp_path / "odd.flags"
    path.write_text(f"--clip_s={value}\n")
    with pytest.raises(ValueError, match="odd.flags: .*--clip_s=.* in the range"):
        stage_flags.read_flagfile(str(path))


@pytest.mark.parametrize(
    "argument",
    [
        *(f"--seed={n}" for n in (2**64, 2**32, -1)),
        *(f"--fraction_seed={n}" for n in (2**64, -1)),
        *(f"--epochs={n}" for n in (10**30, -1, "1e3", "nan")),
        *(f"--batch_size={n}" for n in (0, -(2**63), 2**63)),
        *("--embedding_dim=1000000000000", "--embedding_dim=0", "--image_width=inf"),
        *("--learning_rate=nan", "--learning_rate=0", "--margin=-1", "--ema_decay=1"),
        *("--clips_per_recording=10000000", "--shuffle_clips=9999999999"),
        *("--evaluation_population=-1", "--evaluation_clip_s=-1", "--clip_norm=inf"),
    ],
)
def test_what_no_machine_can_do_is_told_with_the_limits(argument):
    flag_values = flags.FlagValues()
    stage_flags.define(flag_values)
    name = argument.partition("=")[0]
    with pytest.raises(flags.Error, match=f"{name}=.*(in the range|invalid literal)"):
        flag_values(["test", argument])


@pytest.mark.parametrize(
    "widths", ["1000000000000,8", "8,0", "-1", "1.5", "nan", "8,", "9" * 40]
)
def test_what_no_list_can_hold_is_told_with_the_limits(widths):
    flag_values = flags.FlagValues()
    stage_flags.define(flag_values)
    flag_values(["test", f"--audio_widths={widths}"])
    with pytest.raises(ValueError, match="--audio_widths: .* from 1 to 8192 .*"):
        settings.from_flags(ModelConfig, flag_values, ModelConfig((4,)))


def test_every_number_that_a_program_takes_has_two_limits():
    """Those of settings have them by default; floats are settings.define_float's."""
    for path in PROGRAM_FILES:
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            assert name != "flags.DEFINE_float", path  # takes nan
            if name == "flags.DEFINE_integer":
                n_limits = len(call.args[3:]) + sum(
                    keyword.arg in ("lower_bound", "upper_bound")
                    for keyword in call.keywords
                )
                assert n_limits == 2, (path, call.lineno)


def test_a_flagfile_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "binary.flags"
    path.write_bytes(b"--pad_db=1\n\xff\xfe")
    with pytest.raises(ValueError, match="binary.flags: .*decode"):
        stage_flags.read_flagfile(str(path))


def test_a_comma_within_a_path_is_told_or_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "a,b=c", "d, e/records", "f,"):
        (tmp_path / name).mkdir(parents=True)
    for text, path in (
        ("x=a,b=c", "a,b=c"),
        ("y=z,x=a,b=c,u=v", "a,b=c"),
        ("x=d, e/records", "d, e/records"),
        ("x=d, e/records/train", "d, e/records/train"),
        ("x=f,", "f,"),
        (f"x={tmp_path}/f,", f"{tmp_path}/f,"),
    ):
        items = _parse(f"--names={text}").names
        with pytest.raises(ValueError, match=f"--sets: the comma in '{path}' is read"):
            comma_lists.parse_named(items, "sets")
    # Where no such path is there, the commas part items, or the message says so.
    items = _parse("--names=x=a,b=d").names
    assert comma_lists.parse_named(items, "sets") == {"x": "a", "b": "d"}
    with pytest.raises(ValueError, match="got 'b/records'. Commas part items"):
        comma_lists.parse_named(_parse("--names=x=s3://a,b/records").names, "sets")
    for text, found in (
        ('"x=a,b=c"', {"x": "a,b=c"}),
        ('"x=d, e/records",y=a', {"x": "d, e/records", "y": "a"}),
        ('y=a,"x=f,"', {"y": "a", "x": "f,"}),
    ):
        items = _parse(f"--names={text}").names
        assert comma_lists.parse_named(items, "sets") == found


def test_a_list_with_commas_and_quotes_comes_back_from_a_flagfile(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Listing:
        sets: tuple[str, ...] = settings.setting((), "")
        widths: tuple[int, ...] = settings.setting((1, 2), "")

    for sets in ((), ("x=a,b", "y=c"), ('x="q"', "y= z"), ("x=a", "y=b"), ('"',)):
        config = Listing(sets)
        path = tmp_path / "flags.txt"
        path.write_text(settings.to_flagfile(config))
        read = settings.read_flagfile(str(path), Listing)
        assert settings.from_flags(Listing, read) == config
    assert settings.to_flagfile(Listing(("x=a", "y=b"))) == (
        "--sets=x=a,y=b\n--widths=1,2\n"
    )
