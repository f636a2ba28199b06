"""Typed content of evaluation.json beside the records that it is made of."""

from typing import get_type_hints

import pytest

from motion.evaluator import Protocol
from motion.metrics.measure import Measure
from ray_jobs.common.evaluation import MeasureContent, ProtocolContent


@pytest.mark.parametrize(("content", "record"), [(MeasureContent, Measure), (ProtocolContent, Protocol)])
def test_contents_have_the_fields_of_their_records(content: type, record: type) -> None:
    assert get_type_hints(content) == get_type_hints(record)
