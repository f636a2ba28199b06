"""Parts of the demo that need no cluster; tests/e2e/test_demo.py runs all of it."""

import json
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from motion.body import load_body
from motion.errors import InputError
from motion.generator import MotionRequest
from ray_jobs.demo import DemoConfig, Stages, ask_over_http, write_prompts
from ray_jobs.generate import like, read_prompts
from tests.helpers.clips import random_clip


def test_a_resumed_demo_adds_to_what_its_stages_took(tmp_path: Path) -> None:
    file = tmp_path / "stages.json"
    with Stages(file).stage("train"):
        time.sleep(0.02)
    before = json.loads(file.read_text())["train"]
    assert before >= 0.02
    resumed = Stages(file)
    for name in ("train", "serve"):
        with resumed.stage(name):
            time.sleep(0.01)
    assert list(resumed.seconds) == ["train", "serve"]
    assert resumed.seconds["train"] >= before + 0.01
    assert json.loads(file.read_text()) == resumed.seconds


class Answer(BaseHTTPRequestHandler):
    """Server of motions that makes none."""

    def do_POST(self) -> None:
        body = b'{"transl": [[[0, 0, 0]]]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_the_demo_asks_its_own_server_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing answers
    monkeypatch.delenv("NO_PROXY", raising=False)
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.handle_request, daemon=True).start()
        ask_over_http(server.server_port)


@pytest.mark.parametrize("change", [{"port": 0}, {"port": 65536}, {"steps": 0}, {"rooms": -1}])
def test_numbers_out_of_their_range_are_refused_at_once(change: dict[str, int]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(InputError, match=f"^{name} is {value}, expected 1 "):
        DemoConfig(**change)


def test_prompts_ask_for_motions_like_the_clips(tmp_path: Path) -> None:
    """A request survives the way through the file: two persons with an action each, and one without."""
    pair, alone = random_clip(load_body(), persons=2, frames=9), random_clip(load_body(), persons=1, frames=7)
    alone = replace(alone, action=0 * alone.action, texts=["a person falls"])
    asked, bad = read_prompts(write_prompts(tmp_path / "prompts.jsonl", [pair, alone]), num_frames=5)
    assert (asked, bad) == ({0: like(pair), 1: like(alone)}, [])
    assert like(pair).action == ("standing_on_floor", "standing_on_floor")
    assert like(alone) == MotionRequest("a person falls", 7)
