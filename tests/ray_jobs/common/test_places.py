"""Places are settled where the command is given, whatever characters they have; what a job cannot mean is refused."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from motion.errors import InputError
from ray_jobs.common.places import check_seen, require_weights, settle, settle_files

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@dataclass(frozen=True)
class Config:
    """Settings with places of each kind."""

    data: str
    output: str
    network: str = "tiny"

    def __post_init__(self) -> None:
        settle(self, "data")
        settle_files(self, "network")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        ("out", "HERE/out"),
        ("what?x=1/50%25/o'b ü#", "HERE/what?x=1/50%25/o'b ü#"),
        ("/data/a b", "/data/a b"),
        ("~/out", "HERE/home/out"),
        ("s3://bucket/a b?region=x", "s3://bucket/a b?region=x"),
        ("gs://bucket/out", "gs://bucket/out"),
        ("file:///data/a%20b#c", "/data/a b#c"),
        ("~nobody-has-this-name/out", "HERE/~nobody-has-this-name/out"),
    ],
)
def test_a_place_is_absolute_and_a_uri_stays(here: Path, given: str, settled: str) -> None:
    expected = settled.replace("HERE", str(here))
    config = Config(given, Path(given) if "://" not in given else given)
    assert (config.data, config.output) == (expected, expected)


@pytest.mark.parametrize("folded", ["s3:/bucket/run", "gs:/b", "file:/data", "s3a:/bucket", "S3:/bucket", "http:/host"])
def test_a_uri_that_lost_a_slash_is_no_folder(here: Path, folded: str) -> None:
    with pytest.raises(InputError, match=rf"--output is '{folded}', expected a path or a URI with two slashes"):
        Config("data", folded)


@pytest.mark.parametrize("nothing", ["", "file://data/run"])
def test_no_place_is_not_the_current_folder(here: Path, nothing: str) -> None:
    with pytest.raises(InputError, match=f"--output is '{nothing}', expected a path, or a URI such as"):
        Config("data", nothing)


def test_a_submitted_job_does_not_guess_the_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUBMITTED, "{}")
    assert Config("/data", "s3://bucket/run").output == "s3://bucket/run"
    with pytest.raises(InputError, match=r"--output is 'out', .* a submitted job does not stand .* such as \$PWD/out"):
        Config("/data", "out")
    (here / "data").mkdir()
    with pytest.raises(InputError, match="--data is 'data'"):
        Config("data", "/out")


def test_what_came_along_with_a_submission_is_read_but_nothing_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123"
    (package / "data").mkdir(parents=True)
    monkeypatch.chdir(package)
    monkeypatch.setenv(SUBMITTED, "{}")
    assert Config("data", "/out").data == str(package / "data")
    with pytest.raises(InputError, match="--data is 'absent'"):
        Config("absent", "/out")
    with pytest.raises(InputError, match="in a folder that Ray deletes after the job"):
        Config("data", str(package / "out"))


def test_a_network_is_a_file_only_where_it_looks_like_one(here: Path) -> None:
    (here / "tiny").mkdir()
    (here / "own.ckpt").touch()
    (here / "depth").mkdir()
    assert Config("a", "b").network == "tiny"
    assert Config("a", "b", "own.ckpt").network == str(here / "own.ckpt")
    assert Config("a", "b", "./depth").network == str(here / "depth")
    assert Config("a", "b", "authors/network").network == "authors/network"
    assert Config("a", "b", "interclip:own.ckpt").network == f"interclip:{here}/own.ckpt"
    assert Config("a", "b", "clip:local-dir:depth").network == f"clip:local-dir:{here}/depth"
    assert Config("a", "b", "~nobody-has-this-name/own.ckpt").network == "~nobody-has-this-name/own.ckpt"


def test_a_node_that_sees_another_folder_is_named(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This node stands in for a second one, whose answer is that of before the folder was filled."""
    (node,) = (node for node in ray.nodes() if node["Alive"])
    check_seen(str(tmp_path), "s3://bucket/data")
    context = ray.get_runtime_context()
    monkeypatch.setattr(type(context), "get_node_id", lambda self: "another")
    check_seen(str(tmp_path))
    monkeypatch.setattr("ray_jobs.common.places._fingerprint", lambda path: "folder with more in it")
    sentence = f"node {node['NodeManagerHostname']} of this cluster does not see {tmp_path} as this node does"
    with pytest.raises(InputError, match=sentence):
        check_seen(str(tmp_path))


def test_weights_that_are_not_there_are_named(here: Path) -> None:
    (here / "own.ckpt").touch()
    for network in ("tiny", "own.ckpt", "authors/network", "package.module:object"):
        require_weights(Config("a", "b", network), "network")
    with pytest.raises(InputError, match=r"--network is absent\.ckpt, and there is no such file"):
        require_weights(Config("a", "b", "absent.ckpt"), "network")
