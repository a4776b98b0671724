"""Lists the flagfiles that come with the package, or prints one.

    python -m avl_tf.configs
    python -m avl_tf.configs demo.flags

Every program takes them by name, in any folder: --flagfile=demo.flags; so does
avl_tf.cascade in --stages. A file of that name in the current folder, or in its
configs/, comes first: to change a config, print it into a file there.
"""

from avl_tf import flagfiles, program
from avl_tf.errors import UserError


def main(name: str = "") -> None:
    configs, config = flagfiles.configs(), name.removeprefix(flagfiles.PREFIX)
    if not name:
        width = max(map(len, configs))
        for config, path in configs.items():
            print(f"{config:{width}}  {flagfiles.description(path)}")
    elif config in configs:
        with open(configs[config], encoding="utf-8") as stream:
            print(stream.read(), end="")
    else:
        raise UserError(f"{name}: no config. {flagfiles.near(name)}")


def cli() -> None:
    program.run(main, n_arguments=1)


if __name__ == "__main__":
    cli()
