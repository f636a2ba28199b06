"""Object store for tests: a server in this process that speaks S3."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def bucket() -> Iterator[str]:
    """Serve one empty bucket that pyarrow finds by its URI, which this gives."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    variables = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1", "ENDPOINT_URL": address}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(f"AWS_{name}", value)
        httpx.post(f"{address}/moto-api/reset").raise_for_status()  # servers of one process share their buckets
        httpx.put(f"{address}/data").raise_for_status()
        yield "s3://data"
    server.stop()
