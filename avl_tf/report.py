"""Writes a run's or a cascade's curves and table as a page: no TensorBoard needed.

    python -m avl_tf.report --run_dir=runs/demo

RUN_DIR/report/index.html is one file that can be sent away: the table with 95 %
intervals, the curves of each run over its epochs, its settings. The pictures lie beside
it as PNGs.
"""

from absl import flags

from avl_tf import local_paths, program

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Run directory, or the folder of a cascade.", required=True
)
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Where it goes; else RUN_DIR/report.")


def main() -> None:
    local_paths.require_folder(_RUN_DIR.value, "not a run directory")

    from avl_tf import reporting

    print(reporting.write(_RUN_DIR.value, _OUT_DIR.value))


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
