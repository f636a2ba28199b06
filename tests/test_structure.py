"""Limits of the tree, so that a reader can hold it in mind: few rooms, few arrows, no circle."""

from pathlib import Path

import pytest

from tests import structure

WITHOUT_TESTS = {
    "motion.denoiser.config": "sizes of the network and switches, which the tests of the network set",
    "ray_jobs.common.evaluation": "fields of an evaluation, which the tests of its job and of its page read",
    "recon.pipeline.options": "options of a command, which the tests of the pipeline set",
    "recon.simulate.records": "request and result of a simulation, checked where they are made",
}
"""Modules that are a record and nothing more, so that no test of their own could fail."""


@pytest.mark.parametrize(("package", "rooms", "arrows"), [("motion", 28, 125), ("recon", 20, 55), ("ray_jobs", 12, 25)])
def test_few_rooms_few_arrows_no_circle(package: str, rooms: int, arrows: int) -> None:
    shape = structure.structure(package)
    assert shape.circles == ()
    assert structure.module_circles(package) == ()
    assert shape.back_edges == []
    assert len(shape.rooms) <= rooms
    assert len(shape.arrows) <= arrows


def test_nobody_imports_an_entry_point() -> None:
    for package in structure.PACKAGES:
        files = structure.modules(package)
        for name, path in files.items():
            found = [target for target in structure.imports(path, files) if target.endswith(".__main__")]
            assert found == [], name


@pytest.mark.parametrize("package", ["motion", "recon"])
def test_each_module_has_a_test_file_at_its_place(package: str) -> None:
    """The tests of motion/a/b.py stand in tests/motion/a/test_b.py."""
    files = [path for path in structure.modules(package).values() if path.name not in ("__init__.py", "__main__.py")]
    places = [path.relative_to(structure.REPO) for path in files]
    alone = {
        ".".join(place.with_suffix("").parts)
        for place in places
        if not (structure.REPO / "tests" / place.with_name(f"test_{place.name}")).is_file()
    }
    assert alone == {name for name in WITHOUT_TESTS if name.startswith(f"{package}.")}


def test_a_circle_and_a_lazy_import_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "REPO", tmp_path)
    (tmp_path / "motion").mkdir()
    (tmp_path / "motion" / "a.py").write_text("def lazy() -> None:\n    from motion.b import other\n")
    (tmp_path / "motion" / "b.py").write_text("from motion import a\n")
    assert len(structure.structure("motion").circles) == 1
    assert len(structure.module_circles("motion")) == 1
