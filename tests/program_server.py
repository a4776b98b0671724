"""Runs programs in copies of a process that has imported TensorFlow; see programs.py.

A request is a line of JSON; the answer is a line with the program's exit status. What a
program does after its imports is what it does in a process of its own: the copy is made
before TensorFlow's first operation.
"""

import atexit
import gc
import json
import os
import runpy
import sys
import threading
import traceback

from tensorflow.python.eager import context

# The libraries that the programs import, not the programs: those define flags.
import avl_tf.evaluation  # noqa: F401
import avl_tf.serving  # noqa: F401
import avl_tf.training  # noqa: F401
import data_prep.workers  # noqa: F401


def main():
    assert not context.context()._initialized, "TensorFlow has begun to compute"
    gc.freeze()  # what is imported stays
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            os._exit(_become(**request))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(module, arguments, cwd, environment, outputs):
    """Runs a program as Python does, but for the second that ends its modules."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.path[0] = cwd
    sys.argv[1:] = arguments
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    main()
