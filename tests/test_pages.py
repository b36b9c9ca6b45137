"""The Markdown pages: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.places import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
GUIDES = ("README.md", "CONTRIBUTING.md", "architecture.md")  # that tell where things are; LOG.md is history
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
OURS = re.compile(r"`((?:openwit|wit_queries|datagen|models|train|pipelines|benchmarks|tests|docs)/[\w./-]*)")


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as code hosts make them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_or_heading_leads_somewhere(page: Path) -> None:
    broken = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor[1:] not in anchors(file)):
            broken.append(target + anchor)
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in GUIDES], ids=lambda page: page.name)
def test_every_file_and_folder_that_a_guide_names_is_there(page: Path) -> None:
    named = {path for path in OURS.findall(page.read_text(encoding="utf-8")) if "<" not in path}
    assert len(named) > 3
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_hooks_and_workflow_call_only_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    files = (".pre-commit-config.yaml", ".github/workflows/ci.yml", ".ci/run")
    calls = {name: re.findall(r"\bmake ([a-z][\w-]*)$", (ROOT / name).read_text(), re.M) for name in files}
    assert all(calls.values())
    assert [(name, call) for name, found in calls.items() for call in found if call not in targets] == []
