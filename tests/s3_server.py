"""An S3-compatible server on the loopback address, in a process of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import boto3

# Port 0: a free one. The server ends with its standard input: with the test, come what
# may.
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


def settings(endpoint: str) -> dict[str, str]:
    """The environment that leads TensorFlow to an S3 server other than Amazon's."""
    return {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "AWS_RETRY_MODE": "standard",
        "S3_ENDPOINT": endpoint,
    }


@contextlib.contextmanager
def serve(bucket: str) -> Iterator[dict[str, str]]:
    """Serves an empty bucket; yields the environment for its users."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env={**os.environ, **settings("")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        try:
            host, port = server.stdout.readline().split()
            environment = settings(f"http://{host}:{port}")
            client(environment).create_bucket(Bucket=bucket)
            yield environment
        finally:
            server.stdin.close()


def client(environment: dict[str, str]):
    """A second way to the same objects, without TensorFlow."""
    return boto3.client(
        "s3",
        endpoint_url=environment["S3_ENDPOINT"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def list_keys(environment: dict[str, str], bucket: str, prefix: str) -> list[str]:
    """The keys of all objects that begin with a prefix."""
    lister = client(environment).get_paginator("list_objects_v2")
    pages = lister.paginate(Bucket=bucket, Prefix=prefix)
    return [found["Key"] for page in pages for found in page.get("Contents", ())]


def read_all(environment: dict[str, str], bucket: str, prefix: str) -> dict[str, bytes]:
    """The content of all objects whose keys begin with a prefix, by the key's rest."""
    s3 = client(environment)
    return {
        key.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        for key in list_keys(environment, bucket, prefix)
    }
