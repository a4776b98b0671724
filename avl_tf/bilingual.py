"""Trains systems for low-resource languages side by side, and prints their table.

    python -m avl_tf.bilingual --flagfile=bilingual_demo.flags --run_dir=runs/bilingual

Each system is trained for each language from each seed (and on each fraction of the
language's recordings), in a run directory of its own; then one table a language: mean
and standard deviation over the seeds, the best marked where a paired test says so.
RUN_DIR gets bilingual.json, bilingual.md and, with several fractions, a learning curve:
curve.png, curve.md. What is finished is skipped when the command is run again, and what
was stopped goes on.
"""

import os

from absl import flags

from avl_tf import comma_lists, program, settings
from avl_tf.errors import UserError
from avl_tf.settings.evaluation import ResamplingConfig

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of the whole comparison.", required=True
)
_GUIDE = flags.DEFINE_string(
    "guide", None, "The high-resource language, of --records.", required=True
)
_LANGUAGES = flags.DEFINE_list(
    "languages", [], "The low-resource languages; by default all others of --records."
)
_RECORDS = flags.DEFINE_list(
    "records",
    None,
    "Training records of each language, as in es=PATH,ro=PATH.",
    required=True,
)
_EVALUATE = flags.DEFINE_list(
    "evaluate",
    None,
    "Evaluation set of each low-resource language, as in ro=PATH; the guide's too if "
    "it is given.",
    required=True,
)
_BASE_FLAGFILE = flags.DEFINE_string(
    "base_flagfile",
    None,
    "What all trainings share, such as sizes and clips; the flagfiles of the guide and "
    "of the systems go after it.",
)
_GUIDE_FLAGFILE = flags.DEFINE_string(
    "guide_flagfile",
    None,
    "Stage that trains the guide on its language alone, for the systems with @guide.",
)
_MONOLINGUAL = flags.DEFINE_list(
    "monolingual_systems",
    [],
    "name=flagfile[@guide] with commas between: trained on the low-resource language "
    "alone; @guide starts from the guide's run of the same seed, as a cascade.",
)
_BILINGUAL = flags.DEFINE_list(
    "bilingual_systems",
    [],
    "name=flagfile[@guide] with commas between: trained on --records=GUIDE=PATH,"
    "LANGUAGE=PATH; in the flagfile audio:1 is the guide's branch.",
)
_SYSTEMS = flags.DEFINE_list("systems", [], "Only these of the systems; empty: all.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each training.")
_FRACTIONS = flags.DEFINE_list(
    "fractions",
    ["1"],
    "Parts of each low-resource language's recordings, as in 0.25,0.5,1; a smaller "
    "part lies within a larger one, and an --nn_queue is as much smaller. Several give "
    "a learning curve.",
)
_AT_ONCE = flags.DEFINE_integer(
    "at_once",
    0,
    "Trainings side by side, each with its share of the cores; 0 is one for two cores, "
    "or a single one with a GPU.",
    0,
    1000,
)
settings.define_flags(ResamplingConfig, heading="Paired test")


def main() -> None:
    if os.environ.get("TF_CONFIG"):
        raise UserError(
            "TF_CONFIG is set: a comparison runs on one machine. Train each system "
            "with avl_tf.train instead."
        )
    from avl_tf.commands import bilingual_plan

    plan = bilingual_plan.make(
        bilingual_plan.Flags(
            guide=_GUIDE.value,
            languages=_LANGUAGES.value,
            records=comma_lists.parse_named(_RECORDS.value, "records", "PATH"),
            evaluate=comma_lists.parse_named(_EVALUATE.value, "evaluate", "PATH"),
            base_flagfile=_BASE_FLAGFILE.value,
            guide_flagfile=_GUIDE_FLAGFILE.value,
            monolingual_systems=_MONOLINGUAL.value,
            bilingual_systems=_BILINGUAL.value,
            systems=_SYSTEMS.value,
            seeds=_SEEDS.value,
            fractions=_FRACTIONS.value,
        )
    )

    from avl_tf.commands import comparing_languages

    resampling = settings.from_flags(ResamplingConfig)
    comparing_languages.compare(_RUN_DIR.value, plan, _AT_ONCE.value, resampling)


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
