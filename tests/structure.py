"""Structure of the tree as numbers: `python -m tests.structure` prints a line for each top-level package.

A room is a module or package directly inside `motion`, `recon` or `ray_jobs`; an arrow is an import from one room to
another, lazy imports included. Levels count from the rooms that import none; a back-edge goes up in that order, which
only a circle can. `__main__` modules are entry points: nobody may import them, and their arrows are left out.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("motion", "recon", "ray_jobs")


@dataclass(frozen=True)
class Structure:
    """Rooms and arrows of one package."""

    rooms: frozenset[str]
    arrows: frozenset[tuple[str, str]]
    circles: tuple[tuple[str, ...], ...]
    levels: dict[str, int]

    @property
    def back_edges(self) -> list[tuple[str, str]]:
        """Arrows that do not lead to a lower level."""
        return sorted((a, b) for a, b in self.arrows if self.levels.get(b, 0) >= self.levels.get(a, 0))


def modules(package: str) -> dict[str, Path]:
    """Map the dotted names of all modules of a package to their files."""
    found = {}
    for path in sorted((REPO / package).rglob("*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: Iterable[str]) -> Iterator[str]:
    """Find the modules among `known` that a file imports, wherever in it."""
    known = set(known)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in submodules if name in known)
            if node.module in known and not all(name in known for name in submodules):
                yield node.module


def structure(package: str) -> Structure:
    """Count rooms, arrows, levels and circles of one package."""
    files = modules(package)
    rooms = {name.split(".")[1] for name in files if "." in name} - {"__main__"}
    arrows = set()
    for name, path in files.items():
        if "." not in name or name.endswith("__main__"):
            continue
        for target in imports(path, files):
            if "." in target and name.split(".")[1] != target.split(".")[1]:
                arrows.add((name.split(".")[1], target.split(".")[1]))
    below = {room: {b for a, b in arrows if a == room} for room in rooms}
    circles = find_circles(below)
    return Structure(frozenset(rooms), frozenset(arrows), circles, {} if circles else levels_of(below))


def find_circles(below: dict[str, set[str]]) -> tuple[tuple[str, ...], ...]:
    """Find the first circle of imports, or none."""
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        return (tuple(error.args[1]),)
    return ()


def levels_of(below: dict[str, set[str]]) -> dict[str, int]:
    """Count the imports that lead down from each room at most."""
    levels: dict[str, int] = {}
    for room in TopologicalSorter(below).static_order():
        levels[room] = 1 + max((levels[other] for other in below[room]), default=-1)
    return levels


def module_circles(package: str) -> tuple[tuple[str, ...], ...]:
    """Find the first circle among the modules themselves; a package's `__init__` is the door to its own modules."""
    files = modules(package)
    below = {name: {target for target in imports(path, files) if target != name} for name, path in files.items()}
    return find_circles(below)


def main() -> None:
    """Print the numbers of each top-level package."""
    for package in PACKAGES:
        shape = structure(package)
        print(
            f"{package}: {len(shape.rooms)} rooms, {max(shape.levels.values(), default=0) + 1} levels, "
            f"{len(shape.arrows)} arrows, {len(shape.back_edges)} back-edges, {len(shape.circles)} circles"
        )
        for circle in (*shape.circles, *module_circles(package)):
            print("  circle:", " -> ".join(circle))


if __name__ == "__main__":
    main()
