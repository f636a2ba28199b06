"""Clips with any fault, of any source, which their reader refuses in one sentence."""

import re
from pathlib import Path

import pytest

from motion.body import load_body
from motion.datasets.clip import Clip
from motion.errors import InputError
from tests.helpers.sources.forms import ORIGINAL, PROCESSED, Form


@pytest.mark.parametrize(
    "form", [*ORIGINAL.values(), *PROCESSED.values()], ids=[*ORIGINAL, *(f"{n}-processed" for n in PROCESSED)]
)
def test_every_malformed_clip_is_listed_and_refused_with_its_sentence(tmp_path: Path, form: Form) -> None:
    good, bad = form.write_dataset(tmp_path), form.write_malformed(tmp_path)
    assert len(bad) >= 10
    listed = {clip.id: Clip.from_json(clip.to_json()) for clip in form.reader.list_clips(tmp_path)}
    assert sorted(listed) == sorted([*good, *bad])
    for name, says in bad.items():
        with pytest.raises(InputError) as caught:
            form.reader.read_clip(listed[name], load_body())
        assert re.search(says, str(caught.value)), f"{name}: {caught.value}"
        assert "\n" not in str(caught.value), name
