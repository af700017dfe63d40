"""`Elimination`: take one part after another out of trained networks, beside intact ones.

Every round ends on disk, so that a process that was killed goes on with the next round. Imports
NumPy, torch, `analysis`, `networks` and this package.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray

from analysis.missed import FineTuning, fine_tune
from analysis.pruning import (
    Removal,
    channel_importance,
    channel_removals,
    degree_removals,
    describe_removed,
    irrep_removals,
    magnitude_importance,
    removal_to,
    taylor_importance,
)
from networks.layered import LayeredNetwork
from networks.restriction import Kept, kept_from_json, kept_to_json
from pruning.plan import MAX_ROUNDS, PATIENCE, SHORTLIST, PruningPlan
from pruning.state import PointState, PruningState
from pruning.subject import Subject
from records.files import replacing

RATE = 0.3
"""Part of the training's learning rate with which networks are trained on."""
IMPORTANCE_BATCHES = 16
"""Training batches on whose gradients importance is estimated."""


@dataclass
class Errors:
    """Absolute test errors of one point, reporting units.

    Attributes
    ----------
    pruned, control : array
        [runs, g] of the smaller networks, and of the intact ones trained on for as many steps.
    """

    pruned: NDArray[np.float64]
    control: NDArray[np.float64]


class Elimination:
    """Prune some runs' networks together; what is taken out is the same in all of them.

    Parameters
    ----------
    subjects : sequence of Subject
        Runs with the same network.
    plan : PruningPlan
    folder : Path
        Gets ``state.json`` and each point's networks and errors.
    say : callable
        Called with one line per round.
    watch : callable
        Called with the number of networks that a round trains; returns what is called after each.

    Raises
    ------
    ValueError
        If the folder holds the state of other runs or another plan, or a file in it is damaged.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        plan: PruningPlan,
        folder: Path,
        say: Callable[[str], None],
        watch: Callable[[str, int], Callable[[], None]],
    ) -> None:
        self.subjects = list(subjects)
        self.plan = plan
        self.folder = folder
        self.say = say
        self.watch = watch
        self.state = PruningState.open(folder, plan, [s.digest for s in subjects])
        self._choosing = [subject.choosing_batches() for subject in subjects]
        self._test = [subject.test_batches(plan.num_molecules) for subject in subjects]
        prepared = subjects[0].network.prepare(self._choosing[0][0])
        self._prepared = prepared
        self._molecules = int(prepared.num_graphs)

    # ---- the order of rounds ------------------------------------------------------------------

    def run(self, smallest: float = 0.0) -> None:
        """Do all rounds that are missing.

        Parameters
        ----------
        smallest : float
            Share of the operations; nothing more is taken out of a network that needs less.
        """
        if not self.state.points:
            self._begin()
        for phase in self._phases():
            while (parent := self._parent(phase)) is not None:
                if self.share(kept_from_json(parent.kept)) <= smallest:
                    break
                self._round(phase, parent)

    def _phases(self) -> tuple[str, ...]:
        if self.plan.irreps is not None:
            return ("chosen",)
        return ("irreps",) if self.plan.by == "nested" else ("irreps", "channels")

    def _parent(self, phase: str) -> PointState | None:
        """Find the point from which the next removal starts; None if the phase has ended."""
        points = self.state.points
        own = [point for point in points if point.phase == phase]
        most = 1 if phase == "chosen" else MAX_ROUNDS
        if phase in self.state.ended or len(own) >= most:
            return None
        good = [point for point in own if self._is_good(point)]
        if own and len(own) - (own.index(good[-1]) + 1 if good else 0) >= PATIENCE:
            return None
        if good:
            return good[-1]
        if phase == "channels":
            return [p for p in points if p.val_increase <= self.plan.tolerance][-1]
        return points[0]

    def _is_good(self, point: PointState) -> bool:
        return point.val_increase <= self.plan.max_increase

    def _failed(self, phase: str, parent: PointState) -> set[str]:
        """Name the removals from a point that have been tried out, all of them too bad."""
        return {
            label
            for point in self.state.points
            if point.phase == phase and point.parent == parent.number and not self._is_good(point)
            for label in point.tried
        }

    def _begin(self) -> None:
        """Measure the networks as they were trained."""
        networks = [subject.network for subject in self.subjects]
        self._keep(
            PointState(0, None, "intact", "", 0, kept_to_json(networks[0].kept), 0.0),
            networks,
            networks,
        )

    # ---- one round ----------------------------------------------------------------------------

    def _round(self, phase: str, parent: PointState) -> None:
        number = len(self.state.points)
        networks, controls = self._load(parent)
        failed = self._failed(phase, parent)
        removals = [r for r in self._removals(phase, networks) if r.label not in failed]
        if not removals:
            self.state.end(phase)
            return
        tried = self._shortlist(phase, number, networks, removals)
        steps = self._steps(len(tried))
        done = self.watch(f"round {number}", len(self.subjects) * (len(tried) + 1))
        controls = [self._tuned(i, n, n.kept, steps, number, done) for i, n in enumerate(controls)]
        control_mae = self._mean_maes(controls)
        best: tuple[tuple[bool, float], float, Removal, list[LayeredNetwork]] | None = None
        for removal in tried:
            smaller = [
                self._tuned(i, n, removal.kept, steps, number, done) for i, n in enumerate(networks)
            ]
            increase = float(np.mean(self._mean_maes(smaller) / control_mae - 1))
            too_bad = increase > self.plan.max_increase
            order = (too_bad, self._price(networks[0], removal, increase))
            if best is None or order < best[0]:
                best = (order, increase, removal, smaller)
        if best is None:
            raise RuntimeError("a round tries out one removal at least")
        _, increase, removal, smaller = best
        point = PointState(
            number,
            parent.number,
            phase,
            removal.label,
            parent.steps + steps,
            kept_to_json(removal.kept),
            increase,
            [other.label for other in tried],
        )
        self._keep(point, smaller, controls)
        self.say(
            f"round {number}  without {removal.label}: validation MAE {100 * increase:+.1f} %, "
            f"{100 - 100 * self.share(removal.kept):.0f} % of the operations saved so far"
        )

    def _removals(self, phase: str, networks: Sequence[LayeredNetwork]) -> list[Removal]:
        network = networks[0]
        if phase == "irreps":
            nested = self.plan.by == "nested"
            return degree_removals(network) if nested else irrep_removals(network)
        importance = self._channel_importance(networks)
        if phase == "channels":
            return channel_removals(network, importance)
        return [removal_to(network, o3.Irreps(self.plan.irreps), importance)]

    def _channel_importance(self, networks: Sequence[LayeredNetwork]) -> Any:
        """Mean importance over runs, each run's in units of its most important channel."""
        total: list[dict[str, torch.Tensor]] = [{} for _ in networks[0].kept]
        for subject, network in zip(self.subjects, networks):
            found = channel_importance(network, self._importance_batches(subject), subject.scale)
            unit = max(float(v.max()) for layer in found for v in layer.values()) or 1.0
            for layer, sums in zip(found, total):
                for name, values in layer.items():
                    sums[name] = sums.get(name, 0.0) + values.cpu() / unit
        return total

    def _importance_batches(self, subject: Subject) -> list[Any]:
        batches = subject.training_batches(self.plan.seed)
        return [next(batches) for _ in range(IMPORTANCE_BATCHES)]

    def _shortlist(
        self, phase: str, number: int, networks: Sequence[LayeredNetwork], removals: list[Removal]
    ) -> list[Removal]:
        """Choose the removals that are tried out: one, unless the error decides."""
        if len(removals) == 1 or self.plan.by == "nested":
            return removals
        if self.plan.by == "random":
            rng = np.random.default_rng((self.plan.seed, number))
            return [removals[int(rng.integers(len(removals)))]]
        prices = np.zeros(len(removals))
        for subject, network in zip(self.subjects, networks):
            if self.plan.by == "magnitude":
                importance = magnitude_importance(network)
                whole = sum(float(w.detach().double().square().sum()) for w in network.parameters())
                values = np.array([importance(removal.kept) / whole for removal in removals])
            else:
                batches = self._importance_batches(subject)
                importance = taylor_importance(network, batches, subject.scale)
                # The square root is the change of the loss; of two, one of the smaller comes first.
                values = np.sqrt([importance(removal.kept) for removal in removals])
            prices += values / max(values.max(), np.finfo(float).tiny)
        prices /= [self._saved(networks[0], removal) for removal in removals]
        count = SHORTLIST if self.plan.by == "missed" else 1
        return [removals[i] for i in np.argsort(prices, kind="stable")[:count]]

    def _price(self, network: LayeredNetwork, removal: Removal, increase: float) -> float:
        """Error per operation saved. Increases far below the tolerance count alike."""
        return (max(increase, 0.0) + self.plan.tolerance) / self._saved(network, removal)

    def _saved(self, network: LayeredNetwork, removal: Removal) -> float:
        """Share of a network's operations that a removal saves."""
        return max(1 - self._operations(removal.kept) / self._operations(network.kept), 1e-6)

    def _operations(self, kept: Kept) -> float:
        """Multiply-adds per molecule."""
        return self.subjects[0].network.operations(self._prepared, kept) / self._molecules

    def share(self, kept: Kept) -> float:
        """Share of the intact network's operations that a smaller one needs."""
        return self._operations(kept) / self._operations(self.subjects[0].network.kept)

    def _steps(self, tried: int) -> int:
        if self.plan.by == "nested" or self.plan.fine_tune == 0:
            return 0
        return max(1, round(self.plan.fine_tune * self.subjects[0].steps_per_epoch / tried))

    def _tuned(
        self,
        i: int,
        network: LayeredNetwork,
        kept: Kept,
        steps: int,
        number: int,
        done: Callable[[], None],
    ) -> LayeredNetwork:
        """Restrict a network of run i, and train it on; all networks of a round see the same."""
        subject = self.subjects[i]
        smaller = network.restricted(kept).requires_grad_(True)
        if steps:
            seed = self.plan.seed + 1000 * number + 1
            tuning = FineTuning(
                batches=lambda: subject.training_batches(seed),
                steps=steps,
                lr=RATE * float(subject.module.hparams["lr"]),
            )
            with torch.enable_grad():
                fine_tune(smaller, subject.scale, tuning)
        done()
        return smaller.eval()

    def _mean_maes(self, networks: Sequence[LayeredNetwork]) -> NDArray[np.float64]:
        """Find each run's MAE on the validation molecules, [runs]."""
        return np.array(
            [
                float(subject.errors(network, batches).mean())
                for subject, network, batches in zip(self.subjects, networks, self._choosing)
            ]
        )

    # ---- on disk ------------------------------------------------------------------------------

    def checkpoint(self, number: int, run: int = 0, control: bool = False) -> Path:
        """Name the file of a point's network of one run, or of the intact one beside it."""
        name = f"{'control' if control else 'point'}_{number:02d}"
        return self.folder / (f"{name}.ckpt" if run == 0 else f"{name}_run{run}.ckpt")

    def networks(self, number: int) -> list[LayeredNetwork]:
        """Read a point's networks."""
        return [s.read(self.checkpoint(number, i)) for i, s in enumerate(self.subjects)]

    def errors(self, number: int) -> Errors:
        """Read a point's test errors.

        Raises
        ------
        ValueError
            If the file is missing or damaged.
        """
        path = self.folder / f"point_{number:02d}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return Errors(file["pruned"], file["control"])
        # NumPy's reader raises anything from KeyError to BadZipFile.
        except Exception as error:
            raise ValueError(f"{path} is damaged ({error}): start over with --fresh") from error

    def _load(self, point: PointState) -> tuple[list[LayeredNetwork], list[LayeredNetwork]]:
        controls = [
            s.read(self.checkpoint(point.number, i, control=True))
            for i, s in enumerate(self.subjects)
        ]
        return self.networks(point.number), controls

    def _keep(
        self,
        point: PointState,
        networks: Sequence[LayeredNetwork],
        controls: Sequence[LayeredNetwork],
    ) -> None:
        """Write a point's networks and test errors; the state, which makes it count, comes last."""
        kept = kept_from_json(point.kept)
        removed = describe_removed(self.subjects[0].network, kept)
        origin = {"by": self.plan.by, "removed": removed, "steps": point.steps}
        for i, (subject, network, control) in enumerate(zip(self.subjects, networks, controls)):
            subject.write(network, self.checkpoint(point.number, i), origin)
            beside = origin | {"removed": ""}
            subject.write(control, self.checkpoint(point.number, i, control=True), beside)
        content = io.BytesIO()
        np.savez(content, pruned=self._test_errors(networks), control=self._test_errors(controls))
        with replacing(self.folder / f"point_{point.number:02d}.npz") as temporary:
            temporary.write_bytes(content.getvalue())
        self.state.add(point)

    def _test_errors(self, networks: Sequence[LayeredNetwork]) -> NDArray[np.float64]:
        """Find the absolute errors on test molecules, [runs, g]."""
        found = [s.errors(n, b).numpy() for s, n, b in zip(self.subjects, networks, self._test)]
        return np.stack([errors[: min(map(len, found))] for errors in found])
