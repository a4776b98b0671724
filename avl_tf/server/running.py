"""Opens indexes and serves them until it is stopped."""

import contextlib
import os
import re
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import uvicorn
from absl import logging

from avl_tf import comma_lists
from avl_tf.errors import UserError
from avl_tf.retrieval import Store
from avl_tf.server import decoding
from avl_tf.settings.server import ServerConfig

# Of browsers that keep several open, and of programs.
_MOST_CONNECTIONS = 256
_IDLE_S, _LAST_S = 15, 3


def run(
    index_dirs: Sequence[str],
    model: Sequence[str],
    config: ServerConfig,
    **of_engine: Any,
) -> None:
    """Serves indexes; returns when it is stopped.

    Args:
        index_dirs: the items of --index_dir.
        model: the items of --model.
        config: the settings.
        of_engine: weights_2d, weights_3d and error_rate, of Engine.open.

    Raises:
        UserError: an index or its model cannot be opened, or the address not be used.
    """
    _check_tls(config)
    named = indexes_of(index_dirs)
    models = _models(model, named)
    for index_dir in named.values():
        Store.open(index_dir).close()
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_socket(config))
        decoding.prepare()
        # What takes seconds to import comes when the flags have been found good.
        from avl_tf.server import app, opening

        served = opening.served(named, models, **of_engine)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="avl_tf."))
        server = uvicorn.Server(
            uvicorn.Config(
                app.make(served, config, folder),
                log_level="warning",
                access_log=False,
                server_header=False,
                ssl_certfile=config.tls_cert or None,
                ssl_keyfile=config.tls_key or None,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_IDLE_S,
                timeout_graceful_shutdown=_LAST_S,
            )
        )
        # Who reads the address may ask at once.
        listening.listen(_MOST_CONNECTIONS)
        _tell(config, listening.getsockname()[1])
        with _stopped_quietly():
            server.run(sockets=[listening])


def indexes_of(items: Sequence[str]) -> dict[str, str]:
    """Index directories by name, of --index_dir: D, or NAME=D,NAME=D.

    Raises:
        UserError: they are not of that form, or a name has no place in an address.
    """
    whole = ",".join(items)
    is_one = len(items) == 1 and "=" not in whole
    if not is_one and "=" not in items[0] and not os.path.isdir(whole):
        raise UserError(
            f"--index_dir={whole}: no such directory, and several indexes are NAME=DIR "
            "each, as in --index_dir=es=indexes/es,ro=indexes/ro."
        )
    if is_one or os.path.isdir(whole):
        name = os.path.basename(os.path.abspath(whole))
        return {re.sub(r"[^\w.-]", "_", name, flags=re.ASCII) or "index": whole}
    found = comma_lists.parse_named(items, "index_dir", "FOLDER")
    for name in found:
        if not re.fullmatch(r"[\w.-]{1,64}", name, re.ASCII):
            raise UserError(
                f"--index_dir: '{name}' has no place in an address: names are of "
                "letters, digits, _, . and -."
            )
    return found


def _models(items: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Folders of models by the names of their indexes, of --model."""
    whole = ",".join(items)
    if not whole:
        return {}
    if len(named) == 1 and ("=" not in whole or os.path.isdir(whole)):
        return dict.fromkeys(named, whole)
    found = comma_lists.parse_named(items, "model", "FOLDER")
    if unknown := found.keys() - named.keys():
        raise UserError(
            f"--model: no index is called '{min(unknown)}', there are "
            f"{', '.join(named)}."
        )
    return found


def _socket(config: ServerConfig) -> socket.socket:
    """A socket that is bound: an address that is taken is told at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host={config.host}: {error.strerror}.") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise UserError(
            f"{config.host}:{config.port}: {error.strerror}. Give another --port, or "
            "stop what listens there."
        ) from error
    return listening


def _check_tls(config: ServerConfig) -> None:
    if not config.tls_cert:
        return
    for flag in ("tls_cert", "tls_key"):
        path = getattr(config, flag)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"--{flag}={path}: no such file.")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # A key that asks for a word would have the server wait for it.
        context.load_cert_chain(config.tls_cert, config.tls_key, password="")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise UserError(
            f"--tls_cert={config.tls_cert} --tls_key={config.tls_key}: not a "
            f"certificate and its key without a password, in PEM ({error})."
        ) from error


def _tell(config: ServerConfig, port: int) -> None:
    scheme = "https" if config.tls_cert else "http"
    host = f"[{config.host}]" if ":" in config.host else config.host
    print(f"{scheme}://{host}:{port}", flush=True)
    if not config.is_local:
        logging.warning(
            "listening on %s: who reaches it can search, and see and hear what is in "
            "the index.%s",
            config.host,
            ""
            if config.tls_cert
            else " Browsers lend a microphone to https alone, but on this machine: "
            "give --tls_cert and --tls_key.",
        )


@contextlib.contextmanager
def _stopped_quietly() -> Iterator[None]:
    """SIGTERM is the usual end of a server, and so is the keyboard's."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
