"""What the summary says, and that it says no more than is known."""

from pathlib import Path

import pytest

from reporting.compare.groups import choose_reference
from reporting.words.irreps import judge
from reporting.words.summary import Summary, still_falling, summarize
from tests.reporting.conftest import one_group
from tests.reporting.synthetic_runs import write_run


def summary_of(folder: Path, reference: str | None = None) -> Summary:
    group = one_group(folder)
    return summarize(group, choose_reference(group, reference))


def everything(summary: Summary) -> str:
    return "\n".join([*summary.best, *summary.irreps, *summary.seeds, *summary.unknown])


def maes(folder: Path, **errors: list[float]) -> None:
    """Write a run a value: keyword ``l01`` is the set 16x0e+16x1o, seeds count from 0."""
    for name, values in errors.items():
        irreps = "+".join(f"16x{degree}{'eo'[int(degree) % 2]}" for degree in name[1:])
        for seed, value in enumerate(values):
            write_run(folder, irreps, seed, **{"test/mae": value})


def test_three_seeds_establish_a_clear_difference(tmp_path):
    maes(tmp_path, l0=[50.0, 51.0, 52.0], l01=[40.0, 41.2, 42.1])
    said = summary_of(tmp_path)
    assert said.best[0].startswith("`0e+1o` has the lowest test MAE: **41.1 meV** (mean of 3 seeds")
    assert "less than `0e`" in said.best[1]
    assert "; established after" in said.best[1]
    assert (
        said.best[2] == "Every other set is worse, established after correction for their number."
    )
    assert said.seeds == ["3 seeds in each of 2 sets of irreps."]
    (vectors,) = (text for text in said.irreps if text.startswith("`1o`"))
    assert vectors.startswith("`1o` (vectors): **worth having")


def test_scatter_larger_than_the_difference_is_said(tmp_path):
    maes(tmp_path, l0=[50.0, 40.0, 45.0], l01=[44.0, 46.0, 43.0])
    said = summary_of(tmp_path)
    assert "not established after correction" in said.best[1]
    assert any(text.startswith("Not told apart from it") for text in said.best)
    assert any(text.startswith("Whether the best set is really better") for text in said.unknown)
    assert "worth having" not in everything(said)


def test_one_seed_concludes_nothing(tmp_path):
    maes(tmp_path, l0=[50.0], l01=[10.0])
    said = summary_of(tmp_path)
    assert "(one seed: no interval exists)" in said.best[0]
    assert any("the order may be chance" in text for text in said.best)
    assert "one seed cannot show whether it is needed" in everything(said)
    assert any("one seed gives no interval" in text for text in said.unknown)
    # The word appears nowhere but in a denial.
    assert "established" not in everything(said)


def test_a_single_set_has_nothing_to_be_compared_with(tmp_path):
    maes(tmp_path, l01=[40.0, 41.0])
    said = summary_of(tmp_path)
    assert "nothing to compare it with" in said.best[0]
    assert "whether it is needed is open" in everything(said)
    assert any("no otherwise equal set was trained without them" in t for t in said.unknown)


def test_no_finished_run(tmp_path):
    write_run(tmp_path, "16x0e", 0, status="running")
    said = summary_of(tmp_path)
    assert said.best == ["No run of this group has finished, so there is nothing to compare yet."]
    assert said.irreps == []


def test_unfinished_runs_sizes_and_falling_curves_stay_open(tmp_path):
    maes(tmp_path, l0=[50.0, 51.0, 52.0], l01=[40.0, 41.2, 42.1])
    write_run(tmp_path, "16x0e", 7, status="failed")
    open_questions = "\n".join(summary_of(tmp_path).unknown)
    assert "1 run that is unfinished, failed or repeated" in open_questions
    assert "what is due to irreps and what to size" in open_questions.lower()
    assert "in 6 of 6 runs the validation error was still falling" in open_questions


def test_networks_that_learned_nothing_are_called_so(tmp_path):
    maes(tmp_path, l0=[6900.0], l01=[7000.0])
    assert any("learned too little" in text for text in summary_of(tmp_path).unknown)


def test_other_code_versions_are_told(tmp_path):
    write_run(tmp_path, "16x0e", 0, git_commit="a" * 40)
    write_run(tmp_path, "16x0e+16x1o", 0, git_commit="b" * 40)
    assert any("2 commits" in text for text in summary_of(tmp_path).unknown)


def test_without_measurements_it_says_so(tmp_path):
    for irreps in ("16x0e", "16x0e+16x1o"):
        write_run(tmp_path, irreps, 0, utilization=False, **{"test/mae": None})
    said = summary_of(tmp_path)
    assert any("Utilization was not measured" in text for text in said.unknown)
    assert said.unknown[0].startswith("No run was tested")
    assert "lowest validation MAE" in said.best[0]


def test_the_reference_can_be_chosen(tmp_path):
    maes(tmp_path, l0=[50.0, 51.0, 52.0], l01=[40.0, 41.2, 42.1], l02=[45.0, 46.0, 47.3])
    assert "less than `0e+2e`" in summary_of(tmp_path, "16x0e+16x2e").best[1]


@pytest.mark.parametrize(
    ("used", "total", "verdict"),
    [(3, 3, "used; whether"), (0, 3, "hardly used; whether"), (0, 0, "not measured; whether")],
)
def test_without_a_smaller_set_need_stays_open(used, total, verdict):
    assert judge("1o", used, total, []).startswith(verdict)
    assert judge("0e", used, total, []) == "every set has it"


def test_a_flat_curve_is_not_falling(sweep_group):
    run = sweep_group.sets[0].runs[0]
    assert still_falling(run)
    flat = {epoch: {**row, "val/mae": 1.0} for epoch, row in run.metrics.items()}
    changed = type(run)(**{**vars(run), "metrics": flat})
    assert not still_falling(changed)


def test_a_long_list_of_sets_is_cut(tmp_path):
    for channels in range(1, 13):
        for seed in range(3):
            # All scatter alike and so differ for certain, but for one that cannot be told apart.
            error = 50.0 - channels + (seed if channels != 11 else 6 - 3 * seed)
            write_run(tmp_path, f"{channels}x0e", seed, **{"test/mae": error})
    assert summary_of(tmp_path).best[-1].endswith(" and 2 more.")
