"""Limits of the tree, so that a reader can hold it in mind: few rooms, few arrows, no circle."""

from pathlib import Path

import pytest

from tests import structure


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


def test_a_circle_and_a_lazy_import_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "REPO", tmp_path)
    (tmp_path / "motion").mkdir()
    (tmp_path / "motion" / "a.py").write_text("def lazy() -> None:\n    from motion.b import other\n")
    (tmp_path / "motion" / "b.py").write_text("from motion import a\n")
    assert len(structure.structure("motion").circles) == 1
    assert len(structure.module_circles("motion")) == 1
