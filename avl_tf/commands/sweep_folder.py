"""What a sweep's folder holds: RUN_DIR/plan.json, by which trainings are known again.

{"records": {path: fingerprint}, "trainings": {name: {"arguments", "parent",
"init_from"}}}, of all calls so far.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import tensorflow as tf
from absl import logging

from avl_tf import fields, files
from avl_tf.commands import sweep_plan
from avl_tf.commands.sweep_plan import Plan
from avl_tf.comparing.trainings import Training
from avl_tf.errors import UserError
from avl_tf.records import open_records

_PLAN = "plan.json"
# Of other programs; a folder is that of one.
_OTHERS = ("run.json", "cascade.json", "bilingual.json")


@dataclasses.dataclass(frozen=True)
class Held:
    """What earlier calls have planned in a folder."""

    records: Mapping[str, str]
    trainings: Mapping[str, Training]


def read(run_dir: str) -> Held:
    """Reads what was planned in a folder before; nothing if it is new.

    Raises:
        UserError: the folder is another program's, or its plan is damaged.
    """
    path = files.join(run_dir, _PLAN)
    if not tf.io.gfile.exists(path):
        for name in _OTHERS:
            if tf.io.gfile.exists(files.join(run_dir, name)):
                raise UserError(
                    f"{run_dir} holds {name}, and so is no sweep's. Give another "
                    "--run_dir."
                )
        return Held({}, {})
    value = files.read_json(path)
    try:
        _CHECK(value, "")
    except UserError as error:
        raise UserError(f"{path}: not the plan of a sweep ({error}).") from None
    trainings = {
        name: Training(
            name, "", tuple(one["arguments"]), (), one["parent"], one["init_from"]
        )
        for name, one in value["trainings"].items()
    }
    return Held(value["records"], trainings)


def agreed(run_dir: str, plan: Plan, held: Held) -> Plan:
    """The plan with the names that its trainings have in the folder.

    Raises:
        UserError: the folder has a training of that name with other settings.
    """
    known = sweep_plan.identities(list(held.trainings.values()))
    names_of = {identity: name for name, identity in known.items()}
    names = {
        name: names_of.get(identity, name)
        for name, identity in sweep_plan.identities(plan.trainings).items()
    }
    others = [
        one
        for one in plan.trainings
        if names[one.name] == one.name
        and one.name in known
        and known[one.name] != sweep_plan.identities(plan.trainings)[one.name]
        and tf.io.gfile.exists(files.join(run_dir, one.name))
    ]
    if others:
        one = others[0]
        more = f" (and so {len(others) - 1} more)" if others[1:] else ""
        raise UserError(
            f"{run_dir} holds a sweep of other settings: {one.name} had "
            f"{_difference(held.trainings[one.name], one)}{more}. Use another "
            "--run_dir, give the setting another name, or delete what is to be "
            "trained anew."
        )
    return plan.renamed(names)


def fingerprints(run_dir: str, plan: Plan, held: Held) -> dict[str, str]:
    """Those of all records of a plan, by path.

    Raises:
        UserError: records have changed since an earlier call.
    """
    records = {}
    for path in sorted({path for one in plan.trainings for path in one.paths}):
        records[path] = open_records(path, any_length=True).fingerprint
        if held.records.get(path, records[path]) != records[path]:
            raise UserError(
                f"{run_dir} holds a sweep of other records: those in {path} have "
                "changed since. Use another --run_dir."
            )
    return records


def write(run_dir: str, plan: Plan, held: Held, records: Mapping[str, str]) -> None:
    """Notes a plan before its trainings, beside what was planned before.

    records: as of fingerprints.
    """
    planned = {one.name: one for one in plan.trainings}
    left = [name for name in held.trainings if name not in planned]
    if left:
        logging.info(
            "%s: %s of earlier calls stay, and are not in the table: %s",
            *(run_dir, len(left), _few(left)),
        )
    every = {**held.trainings, **planned}
    value = {
        "records": {**held.records, **records},
        "trainings": {
            name: {
                "arguments": one.arguments,
                "parent": one.parent,
                "init_from": one.init_from,
            }
            for name, one in every.items()
        },
    }
    files.write_json(files.join(run_dir, _PLAN), value)


def _difference(before: Training, now: Training) -> str:
    gone = [text for text in before.arguments if text not in now.arguments]
    new = [text for text in now.arguments if text not in before.arguments]
    if gone or new:
        return f"{' '.join(gone) or 'none'}, has now {' '.join(new) or 'none'}"
    return "a parent of other settings"


def _few(names: Iterable[str]) -> str:
    first, *rest = names
    return f"{first} and so on" if rest else first


_TEXT = fields.text()
_CHECK = fields.record(
    {
        "records": fields.mapping(_TEXT),
        "trainings": fields.mapping(
            fields.record(
                {
                    "arguments": fields.items(fields.anything),
                    "parent": fields.anything,
                    "init_from": fields.anything,
                }
            )
        ),
    }
)
