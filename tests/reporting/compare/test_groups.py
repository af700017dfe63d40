"""What is compared with what."""

from pathlib import Path

import pytest

from reporting.compare.groups import (
    check_reference,
    choose_reference,
    differing_options,
    group_runs,
)
from reporting.read.runs import ReportError, find_runs, read_run
from tests.reporting.conftest import one_group
from tests.reporting.synthetic_runs import write_run


def groups_in(folder: Path) -> list:
    return group_runs([read_run(path) for path in find_runs([folder])])


def test_only_irreps_and_seed_may_differ(sweep_group):
    assert [known.irreps for known in sweep_group.sets] == [
        "16x0e",
        "16x0e+16x1o",
        "16x0e+16x2e",
        "16x0e+16x1o+16x2e",
    ]
    assert all([run.seed for run in known.runs] == [0, 1, 2] for known in sweep_group.sets)
    assert {known.label for known in sweep_group.sets} == {"0e", "0e+1o", "0e+2e", "0e+1o+2e"}


def test_unfinished_and_failed_runs_are_named_and_not_counted(sweep_group):
    reasons = {run.status: reason for run, reason in sweep_group.left_out}
    assert reasons == {
        "running": "not finished (running)",
        "failed": "failed: loss is NaN at step 9",
    }


OTHERS = ["--data.target=gap", "--data.graph=radius", "--data.train_size=100", "--model.lr=0.01"]


@pytest.mark.parametrize("option", OTHERS)
def test_any_other_difference_makes_another_group(tmp_path, option):
    for seed in (0, 1):
        write_run(tmp_path, "16x0e", seed)
    write_run(tmp_path, "16x0e", 0, option)
    groups = groups_in(tmp_path)
    assert [len(group.runs) for group in groups] == [2, 1]
    assert groups[0].name != groups[1].name
    key, _, value = option.removeprefix("--").partition("=")
    assert differing_options(groups) == [key]
    assert value in groups[1].name


def test_splits_that_go_with_the_seed_are_seeds_of_one_set(tmp_path):
    for seed in range(3):
        for irreps in ("16x0e", "16x0e+16x1o"):
            write_run(tmp_path, irreps, seed, split_seed=seed + 5)
    group = one_group(tmp_path)
    assert group.seeds_draw_splits
    assert [len(known.runs) for known in group.sets] == [3, 3]
    assert "data.split_seed" not in group.configuration


@pytest.mark.parametrize(
    "pairs",
    [
        [(0, 0), (0, 1), (1, 0), (1, 1)],
        [(0, 0), (0, 1)],
        [(0, 0), (1, 0), (2, 1)],
    ],
)
def test_splits_that_do_not_go_with_the_seed_are_groups_apart(tmp_path, pairs):
    for seed, split in pairs:
        write_run(tmp_path, "16x0e", seed, split_seed=split)
    groups = groups_in(tmp_path)
    assert len(groups) == 2
    assert not any(group.seeds_draw_splits for group in groups)
    assert {group.configuration["data.split_seed"] for group in groups} == {0, 1}


def test_seeds_that_share_a_split_do_not_draw_it(sweep_group):
    assert not sweep_group.seeds_draw_splits
    assert sweep_group.configuration["data.split_seed"] == 0


def test_multiplicities_are_irreps(tmp_path):
    write_run(tmp_path, "16x0e", 0)
    write_run(tmp_path, "16x0e", 1, "--model.channels_l0=16", "--model.channels_l1=8")
    group = one_group(tmp_path)
    assert [known.irreps for known in group.sets] == ["16x0e", "16x0e+8x1o"]
    assert [known.label for known in group.sets] == ["16x0e", "16x0e+8x1o"]


def test_a_seed_counts_once(tmp_path):
    write_run(tmp_path / "a", "16x0e", 0)
    write_run(tmp_path / "b", "16x0e", 0)
    group = one_group(tmp_path)
    assert len(group.sets[0].runs) == 1
    ((_, reason),) = group.left_out
    assert reason.startswith("repeats U0-16x0e-s0-")


def test_without_any_test_error_the_validation_error_compares(tmp_path):
    write_run(tmp_path, "16x0e", 0, **{"test/mae": None})
    group = one_group(tmp_path)
    assert group.metric == "val/mae"
    write_run(tmp_path, "16x0e", 1)
    group = one_group(tmp_path)
    assert group.metric == "test/mae"
    assert [reason for _, reason in group.left_out] == ["finished without a test MAE"]


def test_the_reference_is_the_smallest_scalar_set_or_the_one_given(tmp_path, sweep_group):
    assert choose_reference(sweep_group, None).irreps == "16x0e"
    assert choose_reference(sweep_group, "16x1o + 16x0e").irreps == "16x0e+16x1o"
    write_run(tmp_path, "16x0e+16x1o")
    write_run(tmp_path, "16x0e+16x1o+16x2e")
    assert choose_reference(one_group(tmp_path), None).irreps == "16x0e+16x1o"


@pytest.mark.parametrize("irreps", ["16x0e+16x9o", "nonsense"])
def test_a_reference_that_no_run_has_is_refused(sweep_group, irreps):
    with pytest.raises(ReportError, match="--reference"):
        check_reference([sweep_group], irreps)


def test_a_run_that_was_trained_on_after_its_end_is_in_a_group_of_its_own(tmp_path):
    write_run(tmp_path, "16x0e", 0)
    write_run(tmp_path, "16x0e", 1, extended_to=64)
    names = sorted(group.name for group in groups_in(tmp_path))
    assert names == ["U0", "U0, extended_to 64"]


def test_penalties_and_pretraining_name_groups(tmp_path):
    for option in ("", "--model.group_lasso=0.1", "--pretraining.epochs=4"):
        write_run(tmp_path, "8x0e+8x1o", 0, *([option] if option else []))
    names = sorted(group.name for group in groups_in(tmp_path))
    assert names == [
        "U0, group_lasso 0.0",
        "U0, group_lasso 0.0, pretraining.epochs 4, pretraining.sigma 0.05",
        "U0, group_lasso 0.1",
    ]
