r"""Makes a manifest of CrossTask: instructional videos with annotated steps in English.

    python -m data_prep.crosstask --annotations=crosstask_release --videos=videos \
        --manifest=data/crosstask.jsonl --drop=missing

In: the folder crosstask_release as published: tasks_primary.txt (blocks of id, title,
url, number of steps, steps with commas between), videos.csv and videos_val.csv (task,
video, url a row), annotations/TASK_VIDEO.csv (step from 1, start, end a row); a folder
tree with VIDEO.mp4, .mkv or .webm.
Out: a recording a video and task, in the splits train and val (the videos of
videos_val.csv); its clips are the annotated steps, labelled by their names. Videos of
the tasks that have no annotation (tasks_related.txt) are left out.
"""

import os

from absl import flags

from avl_tf import program, settings
from avl_tf.errors import UserError
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.media_files import VIDEO_SUFFIXES, MediaFiles
from data_prep import adapter
from data_prep.adapter import AdapterConfig
from data_prep.annotations import find_file, optional_file, read_cells, read_lines

settings.define_flags(AdapterConfig, heading="Checks")
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "The folder crosstask_release, as published.", required=True
)
_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of the videos, nested at will.", required=True
)
_LINES_OF_A_TASK = 5


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    release = _ANNOTATIONS.value
    tasks = _read_tasks(find_file(release, "tasks_primary.txt"))
    all_videos = find_file(release, "videos.csv")
    folder = os.path.join(os.path.dirname(all_videos), "annotations")
    validation = optional_file(release, "videos_val.csv")
    rows = [tuple(row[:2]) for row in read_cells(all_videos, 3)]
    validated = set()
    if validation:
        listed = [tuple(row[:2]) for row in read_cells(validation, 3)]
        validated = set(listed)
        # As published, videos.csv holds these too.
        known = set(rows)
        rows += [pair for pair in listed if pair not in known]
    videos = MediaFiles(_VIDEOS.value, VIDEO_SUFFIXES)
    lines, unannotated, other_tasks = [], [], []
    findings: list[Finding] = []
    for task, video in rows:
        path = os.path.join(folder, f"{task}_{video}.csv")
        if task not in tasks:
            other_tasks.append(f"{task}_{video}")
        elif not os.path.isfile(path):
            unannotated.append(f"{task}_{video}")
        else:
            title, steps = tasks[task]
            with adapter.as_finding(findings, f"{task}_{video}"):
                lines.append(
                    {
                        "id": f"{task}_{video}",
                        "media": videos.find(video),
                        "language": "en",
                        "split": "val" if (task, video) in validated else "train",
                        "recording_id": video,
                        "clips": _read_clips(path, steps),
                        "labels": {"task": task, "title": title},
                    }
                )
    findings += adapter.notes("unannotated", unannotated, f"no file in {folder}")
    findings += adapter.notes("other task", other_tasks, "not in tasks_primary.txt")
    if not validation:
        findings += adapter.notes("no list", ["videos_val.csv"], "so all is train")
    adapter.finish(config, lines, [*findings, *adapter.several(videos)])


def _read_tasks(path):
    """Task -> (title, steps)."""
    lines = read_lines(path)
    tasks = {}
    for start in range(0, len(lines), _LINES_OF_A_TASK):
        block = lines[start : start + _LINES_OF_A_TASK]
        steps = block[4].split(",") if len(block) == _LINES_OF_A_TASK else []
        if not block[0].isdigit() or not steps or block[3] != str(len(steps)):
            raise UserError(
                f"{path}: expected blocks of id, title, url, number of steps and that "
                f"many steps with commas between, got {block}."
            )
        tasks[block[0]] = block[1], steps
    return tasks


def _read_clips(path, steps):
    clips = []
    for number, (step, start, end) in enumerate(read_cells(path, 3), 1):
        try:
            index, start_s, end_s = int(step) - 1, float(start), float(end)
        except ValueError as error:
            raise UserError(f"{path}: row {number}: {error}.") from error
        if not 0 <= index < len(steps):
            raise UserError(
                f"{path}: row {number} is of step {step}, the task has {len(steps)}."
            )
        clips.append({"start_s": start_s, "end_s": end_s, "label": steps[index]})
    return clips


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
