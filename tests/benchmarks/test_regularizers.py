"""The table of penalties and pretraining pairs runs by seed, and the docs show the kept results."""

from __future__ import annotations

from pathlib import Path

from benchmarks.regularizers import PLAIN, collect, table
from reporting.read.runs import Run, find_runs, read_run

ROOT = Path(__file__).parents[2]


def kept_runs() -> list[Run]:
    runs = [read_run(folder) for folder in find_runs([ROOT / "results" / "regularizers"])]
    return [run for run in runs if run.finished]


def test_the_docs_show_the_kept_results() -> None:
    assert table(kept_runs()) in (ROOT / "docs" / "network.md").read_text()


def test_ways_are_told_apart_and_the_plain_one_comes_first() -> None:
    found = collect(kept_runs())
    for network in ("convnet", "gated"):
        ways = [done for name, done in found if name == network]
        assert ways[0] == PLAIN
        assert {f"`group_lasso` {w}" for w in (0.03, 0.3)} < set(ways)
        assert sorted(found[network, PLAIN]) == [0, 1, 2]


def test_changes_are_paired_with_the_plain_run_of_the_same_seed() -> None:
    runs = kept_runs()
    whole = table(runs).splitlines()
    assert whole[2].split("|")[2].strip() == PLAIN
    assert whole[2].split("|")[5].strip() == ""
    found = collect(runs)
    one = [found["convnet", PLAIN][1], found["convnet", "`group_lasso` 0.3"][1]]
    line = table(one).splitlines()[3]
    ratio = (one[1].number("test/mae") or 0) / (one[0].number("test/mae") or 1)
    assert f"{100 * (ratio - 1):+.1f}".replace("-", "\N{MINUS SIGN}") in line
