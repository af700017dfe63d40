"""Imports point one way: which room may import which, and what stays out of each room.

A room is a top-level package. The rules are read from the source, so nothing is imported here.
"""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS: dict[str, set[str]] = {
    "records": set(),
    "networks": set(),
    "structures": set(),
    "qm9": {"records", "structures"},
    "analysis": {"networks", "records"},
    "figures": {"analysis", "records"},
    "latents": {"analysis", "networks", "records"},
    "lightning_modules": {"analysis", "networks", "qm9", "records", "structures"},
    "callbacks": {"analysis", "figures", "latents", "lightning_modules", "networks", "records"},
    "runtime": {"callbacks", "lightning_modules", "records"},
    "pruning": {"analysis", "figures", "lightning_modules", "networks", "records", "runtime"},
    "sweeping": {"records"},
    "reporting": {"records"},
    "probing": {
        "analysis",
        "figures",
        "lightning_modules",
        "networks",
        "qm9",
        "records",
        "reporting",
    },
}
"""The rooms that each room may import."""
BANNED_PACKAGES: dict[str, set[str]] = {
    # W&B's own files of a run are decoded with W&B's own definitions.
    "records": {"e3nn", "lightning", "torch", "torch_geometric"},
    "sweeping": {"e3nn", "lightning", "torch", "torch_geometric", "wandb"},
    "reporting": {"e3nn", "lightning", "torch", "torch_geometric"},
    "networks": {"lightning", "wandb"},
    "analysis": {"lightning", "wandb"},
    "qm9": {"lightning", "wandb"},
    "structures": {"lightning", "wandb"},
}
"""Third-party packages that a room must not import."""
NO_CUDA_GRAPH = (
    "qm9",
    "structures",
    "lightning_modules.qm9_datamodule",
    "lightning_modules.extxyz_datamodule",
)
"""Data is independent of how the network runs, so these must not import `networks.cuda_graph`."""
FREE_ROOMS = {"benchmarks", "tests"}
"""Packages that measure or test the others, and may import all of them."""


def source_files() -> list[Path]:
    """List the programs and the files of all rooms."""
    return [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]


def module_name(path: Path) -> str:
    """Return the dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the first part of a module's name."""
    return module.partition(".")[0]


def programs() -> set[str]:
    """Name the programs: the modules at the top of the repository."""
    return {path.stem for path in ROOT.glob("*.py")}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module imports anywhere, `a.b.c` for ``from a.b import c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def without_type_checking(tree: ast.Module) -> ast.Module:
    """Remove the imports that only type checkers see; they make no cycle at run time."""

    class Remover(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            return node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else node

    return Remover().visit(tree)


@cache
def graph(at_run_time: bool = False) -> dict[str, set[str]]:
    """Map each module of the project to what it imports; its own modules by their full names."""
    trees = {module_name(path): ast.parse(path.read_text()) for path in source_files()}
    found: dict[str, set[str]] = {}
    for module, tree in trees.items():
        names = set(imports(without_type_checking(tree) if at_run_time else tree))
        # `from a.b import c` imports the module a.b.c, or the object c of the module a.b.
        found[module] = {n if n in trees else n.rpartition(".")[0] or n for n in names}
    return found


def edges(rooms: set[str]) -> set[tuple[str, str]]:
    """Return every (importing module, imported module) whose importer is in one of the rooms."""
    return {(m, name) for m, names in graph().items() if room_of(m) in rooms for name in names}


def test_every_room_has_its_rule():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found - FREE_ROOMS == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room):
    own = set(ROOMS) | FREE_ROOMS | programs()
    allowed = ROOMS[room] | {room}
    assert [e for e in sorted(edges({room})) if room_of(e[1]) in own - allowed] == []


@pytest.mark.parametrize("room", BANNED_PACKAGES)
def test_a_room_is_free_of_heavy_packages(room):
    banned = BANNED_PACKAGES[room]
    assert [e for e in sorted(edges({room})) if room_of(e[1]) in banned] == []


def test_programs_import_no_other_program_and_no_benchmark_or_test():
    banned = programs() | FREE_ROOMS
    assert [e for e in sorted(edges(programs())) if room_of(e[1]) in banned] == []


def test_data_does_not_know_of_the_cuda_graph():
    found = [
        (module, name)
        for module, name in sorted(edges({"qm9", "lightning_modules"}))
        if module.startswith(NO_CUDA_GRAPH) and name == "networks.cuda_graph"
    ]
    assert found == []


def test_the_rules_have_no_cycle():
    tuple(TopologicalSorter(ROOMS).static_order())


def test_the_modules_have_no_import_cycle():
    modules = graph(at_run_time=True)
    try:
        tuple(TopologicalSorter(modules).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_no_entry_point_fails_because_of_its_output():
    entries = [p for p in [*source_files(), *ROOT.glob("benchmarks/*.py")] if _is_started(p)]
    assert {"train.py", "validate.py", "worker.py", "nested.py"} <= {path.name for path in entries}
    assert [p for p in entries if "make_standard_streams_safe()" not in p.read_text()] == []


def _is_started(path: Path) -> bool:
    # A worker of another environment, which talks to its parent only, cannot import this project.
    return "\nif __name__ ==" in path.read_text() and path.name != "mace_worker.py"


def test_imports_are_found_wherever_they_stand():
    tree = ast.parse("import a.b\ndef f():\n    from c import d\nif TYPE_CHECKING:\n    import e")
    assert sorted(imports(tree)) == ["a.b", "c.d", "e"]
    assert sorted(imports(without_type_checking(tree))) == ["a.b", "c.d"]
