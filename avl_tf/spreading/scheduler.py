"""A dask cluster that is there already, whose workers somebody else starts."""

import socket

from absl import logging
from distributed import Client
from distributed.comm import get_address_host_port

_CONNECT_S = 10
# A process a core, which may use the memory it needs: --nworkers=auto would ignore
# --nthreads, and a limit would kill workers over long videos.
_WORKER_OPTIONS = "--nworkers=-1 --nthreads=1 --memory-limit=0"


def worker_command(address: str) -> str:
    """The command that starts workers for a scheduler on another machine."""
    return f"dask worker {address} {_WORKER_OPTIONS}"


def connect(address: str) -> Client:
    """Returns a client of a scheduler, and tells of its workers.

    Raises:
        ConnectionError: no scheduler answers there.
    """
    try:
        # Client itself takes long to find out, and says it by a traceback.
        place = get_address_host_port(address, strict=True)
        socket.create_connection(place, _CONNECT_S).close()
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"--scheduler={address}: no dask scheduler answers there ({error}). Give "
            "the address that `dask scheduler` prints, as in tcp://10.0.0.5:8786."
        ) from error
    threads = client.nthreads()
    logging.info("%s has %d workers", address, len(threads))
    if not threads:
        logging.warning("Waiting for workers: start `%s`.", worker_command(address))
    if any(n_threads > 1 for n_threads in threads.values()):
        logging.warning(
            "Some workers have several threads, of which one at a time uses the CNN. "
            "Better: %s",
            worker_command(address),
        )
    return client
