"""What avl_tf.sweep --dry_run prints: a line a training."""

from collections.abc import Collection

from avl_tf import files, runs
from avl_tf.commands.sweep_plan import Place, Plan


def listed(run_dir: str, plan: Plan, finished: Collection[str]) -> str:
    """Lists the trainings of a plan.

    Args:
        run_dir: of the sweep.
        plan: what is to be trained.
        finished: names of the trainings that are.

    Returns:
        A line for the whole, and one a training: its name, how far it is, what it
        starts from (the folder beside it, or a longer name), and the flags in which its
        setting differs from the stage's flagfile.
    """
    settings = {setting.name: setting for setting in plan.settings}
    of: dict[str, list[Place]] = {}
    for place in plan.places:
        of.setdefault(place.training, []).append(place)
    width = max(len(one.name) for one in plan.trainings)
    lines = [plan.told()]
    for one in plan.trainings:
        # Settings that share it agree in their flags, however they are given.
        place = of[one.name][0]
        beside = one.name.rpartition("/")[0] + "/"
        start = one.parent.removeprefix(beside) or one.init_from
        parts = [
            f"{one.name:{width}}",
            f"{_state(run_dir, one.name, finished):8}",
            f"from {start}" if start else "",
            " ".join(settings[place.setting].arguments(place.stage)),
        ]
        lines.append("  ".join(filter(None, parts)).rstrip())
    return "\n".join(lines)


def _state(run_dir: str, name: str, finished: Collection[str]) -> str:
    if name in finished:
        return "finished"
    return "stopped" if runs.exists(files.join(run_dir, name)) else "new"
