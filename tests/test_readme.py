"""The documents: short, without broken links, and without tests that do not exist."""

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def relative_links(path: Path) -> list[str]:
    """List the links of a document that lead to a file of the project or a heading."""
    links = LINK.findall(path.read_text())
    return [link for link in links if not re.match(r"[a-z]+:", link)]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for link in relative_links(document):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target), link


def test_every_document_and_picture_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix == ".md":
            names = (link.partition("#")[0] for link in relative_links(path))
            waiting += [(path.parent / name).resolve() for name in names if name]
    assert {path for path in (ROOT / "docs").iterdir() if path.is_file()} <= reached


def test_every_test_named_in_the_fault_table_exists() -> None:
    file, found = "", 0
    table = (ROOT / "docs" / "faults.md").read_text()
    for path, name in re.findall(r"`([\w/]*\.py)?::(\w+)`", table):
        file = path or file
        source = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{file}::{name}"
        found += 1
    assert found > 20


def test_every_path_in_a_command_exists() -> None:
    for document in DOCUMENTS:
        text = document.read_text()
        for path in re.findall(r"\b(?:tests|configs|sweeps)/[\w/]+(?:\.\w+)?", text):
            if not re.search("/[A-Z]+", path):  # a placeholder such as FILE
                assert (ROOT / path).exists(), f"{document.name}: {path}"
        for module in re.findall(r"python -m ((?:benchmarks|qm9)\.\w+)", text):
            assert find_spec(module) is not None, f"{document.name}: {module}"


def test_every_sweep_file_has_its_row() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text()
    assert [p.name for p in (ROOT / "sweeps").glob("*.yaml") if f"`{p.name}`" not in page] == []


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert str(citation["version"]) == project["version"]
    assert citation["license"] == "Apache-2.0"
