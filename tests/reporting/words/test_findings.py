"""What the summary says, and that it says no more than is known."""

import shlex
from pathlib import Path

from reporting.compare.groups import choose_reference
from reporting.words.findings import Findings, describe_findings
from tests.reporting.conftest import one_group
from tests.reporting.synthetic_runs import write_run


def findings_of(folder: Path, reference: str | None = None) -> Findings:
    group = one_group(folder)
    return describe_findings(group, choose_reference(group, reference))


def everything(findings: Findings) -> str:
    return "\n".join(
        [*findings.learning, *findings.best, *findings.irreps, *findings.seeds, *findings.unknown]
    )


def maes(folder: Path, **errors: list[float]) -> None:
    """Write one run per value: keyword ``l01`` is the set 16x0e+16x1o, seeds count from 0."""
    for name, values in errors.items():
        irreps = "+".join(f"16x{degree}{'eo'[int(degree) % 2]}" for degree in name[1:])
        for seed, value in enumerate(values):
            write_run(folder, irreps, seed, **{"test/mae": value})


def test_three_seeds_establish_a_clear_difference(tmp_path):
    maes(tmp_path, l0=[50.0, 51.0, 52.0], l01=[40.0, 41.2, 42.1])
    said = findings_of(tmp_path)
    assert said.best[0].startswith("`0e+1o` has the lowest test MAE: **41.1 meV** (mean of 3 seeds")
    assert "less than `0e`" in said.best[1]
    assert "; established after" in said.best[1]
    assert said.best[2].startswith("Every other set is worse, established after correction")
    assert said.seeds[0].startswith("3 seeds in each of 2 sets of irreps.")
    (vectors,) = (text for text in said.irreps if text.startswith("`1o`"))
    assert vectors.startswith("`1o` (vectors): **worth having")


def test_the_fastest_set_that_is_equivalent_to_the_best_is_recommended(tmp_path):
    maes(tmp_path, l012=[40.0, 40.1, 40.2], l01=[40.1, 40.1, 40.3], l0=[50.0, 50.1, 50.2])
    said = findings_of(tmp_path)
    assert said.recommendation.startswith(
        "**Recommended: `0e+1o`.** Its error is that of `0e+1o+2e`"
    )
    assert "trains 1.5 times faster" in said.recommendation  # 4,000 molecules/s per degree
    assert (
        "needs 67\N{NO-BREAK SPACE}% of the operations and 44\N{NO-BREAK SPACE}% of the memory"
        in said.recommendation
    )
    assert said.answer == [said.best[0], said.recommendation]


def test_the_best_set_is_recommended_where_no_faster_one_is_as_good(tmp_path):
    maes(tmp_path / "worse", l01=[40.0, 41.0, 42.0], l0=[50.0, 51.0, 52.0])
    said = findings_of(tmp_path / "worse")
    assert said.recommendation.startswith("**Recommended: `0e+1o`.** No faster set is shown")
    maes(tmp_path / "open", l01=[40.0, 43.0, 46.0], l0=[47.0, 41.0, 44.0])
    assert findings_of(tmp_path / "open").recommendation.endswith("Undecided: `0e`.")
    maes(tmp_path / "single", l01=[40.0], l0=[50.0])
    assert findings_of(tmp_path / "single").recommendation == ""


def test_every_open_question_comes_with_a_command_of_known_options(tmp_path):
    maes(tmp_path, l0=[50.0, 40.0, 45.0], l01=[44.0, 46.0, 43.0])
    unknown = findings_of(tmp_path).unknown
    commands = [shlex.split(text.split("`")[-2]) for text in unknown]
    assert len(commands) >= 3
    for command in commands:
        assert command[:3] == ["python", "train.py", "--config"]
        assert Path(command[3]).parent.parent == tmp_path
        options = dict(zip(command[4::2], command[5::2], strict=True))
        assert set(options) <= {
            "--seed_everything",
            "--trainer.max_epochs",
            "--model.irreps",
            "--run_name",
        }
    seeds = [c[c.index("--seed_everything") + 1] for c in commands if "--seed_everything" in c]
    assert seeds == ["3"] * len(seeds), "a seed that no run has yet"


def test_scatter_larger_than_the_difference_is_said(tmp_path):
    maes(tmp_path, l0=[50.0, 40.0, 45.0], l01=[44.0, 46.0, 43.0])
    said = findings_of(tmp_path)
    assert "not established after correction" in said.best[1]
    assert any(text.startswith("These seeds do not separate it") for text in said.best)
    assert any(text.startswith("Whether the best set is really better") for text in said.unknown)
    assert "worth having" not in everything(said)


def test_one_seed_concludes_nothing(tmp_path):
    maes(tmp_path, l0=[50.0], l01=[10.0])
    said = findings_of(tmp_path)
    assert "(one seed: no interval exists)" in said.best[0]
    assert any("the order may be chance" in text for text in said.best)
    assert "one seed cannot show whether it is needed" in everything(said)
    assert any("one seed gives no interval" in text for text in said.unknown)
    # The word appears nowhere but in a denial.
    assert "established" not in everything(said)


def test_a_single_set_has_nothing_to_be_compared_with(tmp_path):
    maes(tmp_path, l01=[40.0, 41.0])
    said = findings_of(tmp_path)
    assert "nothing to compare it with" in said.best[0]
    assert "whether training needs it is open" in everything(said)
    assert any("no otherwise equal set was trained without them" in t for t in said.unknown)


def test_no_finished_run(tmp_path):
    write_run(tmp_path, "16x0e", 0, status="running")
    said = findings_of(tmp_path)
    assert said.best == ["No run of this group has finished, so there is nothing to compare yet."]
    assert said.irreps == []


def test_unfinished_runs_sizes_and_falling_curves_stay_open(tmp_path):
    maes(tmp_path, l0=[50.0, 51.0, 52.0], l01=[40.0, 41.2, 42.1])
    write_run(tmp_path, "16x0e", 7, status="failed")
    open_questions = "\n".join(findings_of(tmp_path).unknown)
    assert "1 run that is unfinished, failed or repeated" in open_questions
    assert "What is due to irreps and what is due to size" in open_questions
    assert "in 6 of 6 runs the validation error was still falling" in open_questions


def test_networks_that_learned_nothing_are_called_so_first(tmp_path):
    maes(tmp_path, l0=[6900.0], l01=[7000.0])
    said = findings_of(tmp_path)
    assert said.too_little_learned
    assert "learned too little" in said.learning[0]


def test_a_recorded_baseline_from_bonds_is_the_one_to_beat(tmp_path):
    errors = {f"baseline/{name}_mae": mae for name, mae in (("mean", 7000.0), ("elements", 900.0))}
    write_run(tmp_path / "weak", "16x0e", 0, **errors, **{"baseline/bonds_mae": 90.0})
    (text,) = findings_of(tmp_path / "weak").learning
    assert "90.0 meV of a linear fit to element and bond counts" in text
    write_run(tmp_path / "good", "16x0e", 0, **errors, **{"baseline/bonds_mae": 200.0})
    said = findings_of(tmp_path / "good")
    assert not said.too_little_learned
    assert said.learning[0].startswith("Learned enough to be judged: the best error is 4.")


def test_sets_that_a_linear_fit_nearly_reaches_are_named(tmp_path):
    for irreps, mae in (("16x0e", 60.0), ("16x0e+16x1o", 20.0)):
        write_run(tmp_path, irreps, 0, **{"test/mae": mae, "test/mae_of_mean": 100.0})
    assert findings_of(tmp_path).learning[1].endswith("not to be judged: `0e`.")


def test_seeds_say_what_they_draw(tmp_path):
    for seed in (0, 1, 2):
        write_run(tmp_path / "one", "16x0e", seed)
        write_run(tmp_path / "own", "16x0e", seed, split_seed=seed)
    assert findings_of(tmp_path / "one").seeds == [
        "3 seeds in 1 set of irreps. Seeds draw new weights and batches; all runs share one split."
    ]
    assert "draw new weights, batches and splits" in findings_of(tmp_path / "own").seeds[0]


def test_five_seeds_are_recommended_where_three_decide_little(tmp_path):
    others = {f"l0{k}": [40.0 + k, 41.0, 42.0] for k in range(1, 7)}
    maes(tmp_path / "few", l0=[50.0, 51.0, 52.0], l01=[40.0, 41.0, 42.0])
    assert "Train 5 seeds" not in everything(findings_of(tmp_path / "few"))
    maes(tmp_path / "many", l0=[50.0] * 3, l012=[39.0] * 3, l013=[38.0, 38.5, 39.0], **others)
    (text,) = (t for t in findings_of(tmp_path / "many").unknown if "Train 5 seeds" in t)
    assert "with 3 seeds and 8 comparisons, a paired difference must be 12.6 times" in text
    assert "lowers this to 5.3" in text


def test_an_equivalent_set_is_called_so(tmp_path):
    maes(tmp_path, l0=[40.0, 40.1, 40.2], l01=[40.1, 40.2, 40.3])
    said = findings_of(tmp_path).best
    assert "Equivalent to it within ±5\N{NO-BREAK SPACE}%: `0e+1o` (+0.10 meV)." in said


def test_other_code_versions_are_told(tmp_path):
    write_run(tmp_path, "16x0e", 0, git_commit="a" * 40)
    write_run(tmp_path, "16x0e+16x1o", 0, git_commit="b" * 40)
    assert any("2 commits" in text for text in findings_of(tmp_path).unknown)


def test_without_measurements_it_says_so(tmp_path):
    for irreps in ("16x0e", "16x0e+16x1o"):
        write_run(tmp_path, irreps, 0, utilization=False, **{"test/mae": None})
    said = findings_of(tmp_path)
    assert any("utilization was not measured" in text for text in said.unknown)
    assert "no run was tested" in said.unknown[0]
    assert "lowest validation MAE" in said.best[0]


def test_the_reference_can_be_chosen(tmp_path):
    maes(tmp_path, l0=[50.0, 51.0, 52.0], l01=[40.0, 41.2, 42.1], l02=[45.0, 46.0, 47.3])
    assert "less than `0e+2e`" in findings_of(tmp_path, "16x0e+16x2e").best[1]


def test_a_long_list_of_sets_is_cut(tmp_path):
    for channels in range(1, 13):
        for seed in range(3):
            # All scatter alike and so differ for certain, but for one that cannot be told apart.
            error = 50.0 - channels + (seed if channels != 11 else 6 - 3 * seed)
            write_run(tmp_path, f"{channels}x0e", seed, **{"test/mae": error})
    assert findings_of(tmp_path).best[-1].endswith(" and 2 more.")
