r"""Keeps avl_tf.app busy, then sends it what it must refuse.

    python -m benchmarks.soak --index_dir=index --query=query.wav --minutes=10

Clients on loopback search one after the other, and play and look at what they find.
Prints as JSON how many were answered, how long a search took (median, 99th percentile),
the server's memory over the time, and what became of the hostile uploads.
"""

import collections
import contextlib
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
from absl import flags

from avl_tf import local_paths, offspring, program
from avl_tf.errors import UserError
from benchmarks import hostile

_INDEX_DIR = flags.DEFINE_string("index_dir", None, "The index.", required=True)
_QUERY = flags.DEFINE_string("query", None, "A recording of speech.", required=True)
_MINUTES = flags.DEFINE_integer("minutes", 10, "How long.", 1, 1000)
_CLIENTS = flags.DEFINE_integer("clients", 8, "How many at once.", 1, 64)
_HOSTILE = flags.DEFINE_integer("hostile", 50, "Hostile uploads behind it.", 1, 1000)
_EVERY_S = 5
# Memory is said from here on: caches fill, and threads come with the first clients.
_FROM = 0.2


def main() -> None:
    local_paths.require_file("query", _QUERY.value)
    with open(_QUERY.value, "rb") as file:
        query = file.read()
    with _served(_INDEX_DIR.value) as address:
        found = _soak(address, query, 60.0 * _MINUTES.value, _CLIENTS.value)
        found |= _refuse(address, query, _HOSTILE.value)
    print(json.dumps(found, indent=1))


@contextlib.contextmanager
def _served(index_dir: str) -> Iterator[str]:
    command = [sys.executable, "-m", "avl_tf.app", f"--index_dir={index_dir}"]
    process = subprocess.Popen(
        [*command, "--port=0"],
        env=offspring.of_module(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise UserError("the server did not start; it says why above.")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _soak(address: str, query: bytes, seconds: float, n_clients: int) -> dict:
    latencies: list[float] = []
    failures: collections.Counter[str] = collections.Counter()
    memory: list[tuple[float, float]] = []
    begun = time.monotonic()

    def use() -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            while time.monotonic() < begun + seconds:
                try:
                    at = time.monotonic()
                    answer = client.post("/search", content=query)
                    answer.raise_for_status()
                    latencies.append(time.monotonic() - at)
                    hit = answer.json()["hits"][0]
                    index = answer.json()["index"]
                    part = {"Range": "bytes=0-65535"}
                    media = client.get(
                        f"/media/{index}/{hit['media_id']}", headers=part
                    )
                    media.raise_for_status()
                    preview = client.get(
                        f"/preview/{index}/{hit['media_id']}.json",
                        params={"start": hit["start_s"], "end": hit["end_s"]},
                    )
                    preview.raise_for_status()
                except httpx.HTTPError as error:
                    failures[str(error)[:80]] += 1

    threads = [threading.Thread(target=use) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(_EVERY_S)
        memory.append((time.monotonic() - begun, _memory_mb(address)))
    later = [mb for at, mb in memory if at >= _FROM * seconds]
    return {
        "seconds": seconds,
        "clients": n_clients,
        "searches": len(latencies),
        "failures": dict(failures),
        "p50_ms": round(1000 * statistics.median(latencies)),
        "p99_ms": round(1000 * statistics.quantiles(latencies, n=100)[98]),
        "memory_from_s": _FROM * seconds,
        "memory_mb": [
            round(mb) for mb in (later[0], min(later), max(later), later[-1])
        ],
        "memory_growth_percent": round(100 * (later[-1] / later[0] - 1), 2),
    }


def _memory_mb(address: str) -> float:
    text = httpx.get(f"{address}/metrics", timeout=60).text
    found = re.search(r"^avl_tf_memory_bytes (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1]) / 1e6


def _refuse(address: str, query: bytes, n: int) -> dict:
    """What is said to hostile uploads, and whether it still answers."""
    said = collections.defaultdict[str, collections.Counter](collections.Counter)
    video = httpx.get(f"{address}/media/{_index(address)}/1").content
    wrong = []
    for kind, content in hostile.uploads(n, video):
        answer = httpx.post(f"{address}/search", content=content, timeout=120)
        said[kind][str(answer.status_code)] += 1
        line = answer.json().get("error", "")
        if not 400 <= answer.status_code < 500 or not line or "\n" in line:
            wrong.append([kind, answer.status_code, answer.text[:200]])
    alive = httpx.post(f"{address}/search", content=query, timeout=60).status_code
    statuses = {kind: dict(counts) for kind, counts in said.items()}
    return {"hostile": statuses, "wrong": wrong, "answers_still": alive == 200}


def _index(address: str) -> str:
    return httpx.get(f"{address}/about").json()["indexes"][0]["name"]


if __name__ == "__main__":
    program.run(main)
