"""Sections of results/model.md, each written by its own benchmark, and the machine that all results name."""

import os
import re
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
MODEL = RESULTS / "model.md"
TITLE = "# The generative model\n"


def write_section(title: str, text: str, path: Path = MODEL, heading: str = TITLE) -> None:
    """Replace the section of this title, or add it at the end; the others stay."""
    content = path.read_text(encoding="utf-8") if path.exists() else heading
    section = f"\n## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"\n## {re.escape(title)}\n.*?(?=\n## |\Z)", re.DOTALL)
    if pattern.search(content):
        content = pattern.sub(lambda _: section.rstrip("\n") + "\n", content)
    else:
        content = content.rstrip("\n") + "\n" + section
    path.write_text(content, encoding="utf-8")


def cores() -> str:
    """Describe the processor: its cores, name and widest instructions."""
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = about.partition("model name")[2].partition(":")[2].splitlines()[0].strip()
    return f"{os.cpu_count()} cores of {name} ({torch.backends.cpu.get_cpu_capability()})"
