"""Row of a step of two languages: against the passes of its branches, one by one."""

from benchmarks import steps
from benchmarks.duel import Side, compare, in_turns
from benchmarks.rows import Row, brief

LANGUAGES = ("es", "ro")


def measure(quick: bool) -> list[Row]:
    clips, model = (
        (steps.QUICK_CLIPS, steps.QUICK_MODEL) if quick else (steps.CLIPS, steps.MODEL)
    )
    settings = {
        "clips": {**clips, "n_clips": clips["n_clips"] // 2},
        "model": {**model, "languages": LANGUAGES},
    }
    with (
        Side("bilingual_step", **settings, work="step") as ours,
        Side("bilingual_step", **settings, work="branches") as other,
    ):
        seconds = [brief(side.ready["warm_up_s"][0]) for side in (ours, other)]
        runs = in_turns(2 if quick else 7, ours, other)
    note = f"first call (traced) {seconds[0]} s, the branches' {seconds[1]} s"
    return [
        compare(
            "bilingual_step",
            "s",
            lambda run: run["wall_s"],
            *runs,
            "its branches' passes",
            note,
        )
    ]
