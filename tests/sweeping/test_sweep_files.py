"""Every file in sweeps/ is valid for W&B and runs without it, and its networks can be built.

wandb_schema.json is the schema with which W&B's server checks sweeps: `config/schema.json` of its
package `sweeps` 0.2.0 (MIT license, Copyright (c) 2021 Weights and Biases). The package itself
needs an older NumPy than this project.
"""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch_geometric.data import Data

from lightning_modules.regressor import EquivariantRegressor
from networks.convnet import EquivariantConvNet
from networks.gated import GatedNetwork
from networks.irreps import natural_parity
from runtime.cli import IrrepscopeCLI
from runtime.signals import StopSignals
from sweeping.file import load_sweep_file, parse_parameters
from sweeping.space import draws, grid
from tests.wandb_server import WandbServer

REPOSITORY = Path(__file__).parents[2]
FILES = sorted((REPOSITORY / "sweeps").glob("**/*.yaml"))
NAMES = [str(path.relative_to(REPOSITORY / "sweeps")) for path in FILES]
SCHEMA = json.loads((Path(__file__).parent / "wandb_schema.json").read_text())
# W&B documents these keys, but they are newer than the published schema.
NEWER_KEYS = {"run_cap"}
DESIGNED = {
    "irreps.yaml": 27,
    "graphs.yaml": 30,
    "paper_lmax.yaml": 32,
    "paper_single_degree.yaml": 40,
    "paper_long.yaml": 24,
    "study/cost.yaml": 18,
    "study/data.yaml": 12,
    "study/epochs.yaml": 4,
    "study/gated.yaml": 21,
    "study/graph.yaml": 24,
    "study/main.yaml": 35,
    "study/nested.yaml": 6,
    "study/raw.yaml": 15,
    "study/width.yaml": 6,
    "tasks.yaml": 60,
    "tasks_small.yaml": 60,
    "quickstart.yaml": 4,
    "multiplicities.yaml": 60,
    "recipe.yaml": 72,
    "nested.yaml": 6,
    "reading.yaml": 12,
    "gated.yaml": 27,
    "gated_small.yaml": 14,
    "regularizers.yaml": 42,
}
TYPES = {"object": dict, "array": list, "string": str, "number": int | float, "integer": int}


def violations(value, schema):
    """Say how a value violates a JSON schema (the part of the language that W&B's uses)."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    kind = TYPES.get(schema.get("type"))
    if kind is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        return [f"{value!r} is no {schema['type']}"]
    found = value_violations(value, schema)
    for alternatives in ("anyOf", "oneOf"):
        fitting = [not violations(value, option) for option in schema.get(alternatives, [])]
        if fitting and not any(fitting):
            found.append(f"{value!r} fits none of {alternatives}")
    return found + (object_violations(value, schema) if isinstance(value, dict) else [])


def value_violations(value, schema):
    """Say how a number, a text or the length of a list violates a schema."""
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    checks = {
        "is no float": schema.get("format") == "float" and not isinstance(value, float),
        f"is not in {schema.get('enum')}": "enum" in schema and value not in schema["enum"],
        f"is below {least}": least is not None and value < least,
        f"is not above {above}": above is not None and value <= above,
        "has too few items": isinstance(value, list) and len(value) < schema.get("minItems", 0),
    }
    return [f"{value!r} {problem}" for problem, violated in checks.items() if violated]


def object_violations(value, schema):
    """Say how the keys and the values of a mapping violate a schema."""
    found = [f"lacks {key}" for key in schema.get("required", []) if key not in value]
    properties = schema.get("properties", {})
    further = schema.get("additionalProperties", {})
    pattern = schema.get("propertyNames", {}).get("pattern", "")
    for key, item in value.items():
        if key not in properties and further is False:
            found.append(f"{key} is unknown")
        if not re.search(pattern, key):
            found.append(f"{key!r} is no name")
        found += violations(item, properties.get(key, further or {}))
    return found


def load(path):
    return yaml.safe_load(path.read_text())


def configurations(path):
    """List all configurations of a grid; of a search its two extremes and 20 random ones."""
    config = load(path)
    parameters = parse_parameters(config["parameters"])
    if config["method"] == "grid":
        return list(grid(parameters))
    choices = {parameter.label: parameter.distribution.choices() for parameter in parameters}
    corners = [{name: values[i] for name, values in choices.items()} for i in (0, -1)]
    return corners + list(itertools.islice(draws(parameters, seed=0), 20))


def test_the_designed_files_are_there():
    assert set(NAMES) == set(DESIGNED)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_file_fits_the_schema_of_wandb(path):
    config = {key: value for key, value in load(path).items() if key not in NEWER_KEYS}
    assert violations(config, SCHEMA) == []


def test_the_schema_check_finds_mistakes():
    good = load(REPOSITORY / "sweeps" / "irreps.yaml")
    for change in ({"method": "gird"}, {"parameters": {"a": {"values": []}}}, {"metrics": {}}):
        assert violations({**good, **change}, SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_header_tells_the_number_of_runs(path):
    told = re.search(r"^# runs +(?:at most )?(\d+)", path.read_text(), re.MULTILINE)
    config = load(path)
    count = config.get("run_cap") or len(configurations(path))
    assert int(told[1]) == count == DESIGNED[str(path.relative_to(REPOSITORY / "sweeps"))]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_file_runs_without_a_server_unless_its_search_is_bayesian(path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    if load(path)["method"] == "bayes":
        with pytest.raises(ValueError, match="wandb sweep"):
            load_sweep_file(path)
    else:
        sweep = load_sweep_file(path)
        assert sweep.name == "_".join(path.relative_to(REPOSITORY / "sweeps").with_suffix("").parts)
        assert sweep.notes == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_parameter_is_null_and_parities_are_natural(path):
    for configuration in configurations(path):
        assert None not in configuration.values()
        for block in configuration.get("model.irreps", "").split("+"):
            if block:
                degree = int(block.partition("x")[2][:-1])
                assert block.endswith("e" if natural_parity(degree) == 1 else "o")


def networks():
    """List each network that a file names once, as (file, model arguments)."""
    seen = {}
    for path in FILES:
        # A network takes a second to build, so take only four configurations of a search.
        searched = load(path)["method"] != "grid"
        for configuration in configurations(path)[: 4 if searched else None]:
            model = {
                key.removeprefix("model."): value
                for key, value in configuration.items()
                if key.startswith("model.") and key != "model.trim_unreachable"
            }
            seen.setdefault(json.dumps(model, sort_keys=True), (path.stem, model))
    return list(seen.values())


@pytest.mark.parametrize(("file", "model"), networks())
def test_every_network_can_be_built(file, model):
    # Three layers cover all kinds: after the embedding, in the middle, and before the readout.
    assert EquivariantRegressor(**model, num_layers=3).network.num_parameters() > 0


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_program_takes_every_argument(path, monkeypatch, tmp_path):
    """Pass the first and the last configuration through the program's own parser."""
    monkeypatch.chdir(REPOSITORY)

    class Parsed(Exception):  # noqa: N818
        pass

    def stop(cli):
        cli.parser.check_config(cli.config)
        raise Parsed

    # Stop before the networks are built, which is slow and tested elsewhere.
    monkeypatch.setattr(IrrepscopeCLI, "instantiate_classes", stop)
    fixed = [item for item in load(path)["command"] if item.startswith("--")]
    for configuration in (configurations(path)[0], configurations(path)[-1]):
        arguments = [*fixed, *(f"--{key}={value}" for key, value in configuration.items())]
        with pytest.raises(Parsed):
            IrrepscopeCLI([*arguments, f"--runs_dir={tmp_path}"], StopSignals())


def test_the_real_command_creates_every_sweep(tmp_path):
    create_all = (
        "import sys\n"
        "from wandb.cli.cli import cli\n"
        "for file in sys.argv[1:]:\n"
        "    cli(['sweep', file], standalone_mode=False)\n"
    )
    with WandbServer() as server:
        done = subprocess.run(
            [sys.executable, "-c", create_all, *(f"sweeps/{name}" for name in NAMES)],
            cwd=REPOSITORY,
            env=server.environment(tmp_path, WANDB_DIR=str(tmp_path)),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert "Malformed" not in done.stderr
    sent = [sweep.config for sweep in server.sweeps.values()]
    assert sent == [load(path) for path in FILES]
    assert {sweep.project for sweep in server.sweeps.values()} == {"irrepscope"}
    assert server.unknown == []


@pytest.mark.parametrize(
    ("name", "layers"), [("gated.yaml", 4), ("gated_small.yaml", 3), ("study/gated.yaml", 3)]
)
def test_the_arm_of_equal_cost_costs_the_same(name, layers):
    path = REPOSITORY / "sweeps" / name
    channels, cost = path.read_text().split("# equal channels")[1].split("# equal cost")
    # As many neighbors as an atom of QM9 has within 5 angstrom, on average.
    molecule = complete_graph(17)

    def sets(text):
        return re.findall(r"- (\d+x\S+)", text)

    def operations(irreps):
        network = GatedNetwork(irreps, num_layers=layers)
        return network.operations(network.prepare(molecule))

    (shared,) = (irreps for irreps in sets(channels) if "2e" in irreps and irreps.count("x") == 3)
    assert len({irreps.partition("x")[0] for irreps in sets(channels)}) == 1
    for irreps in sets(cost):
        assert operations(irreps) == pytest.approx(operations(shared), rel=0.1)
    assert [re.sub(r"\d+x", "", irreps) for irreps in sets(channels) if irreps != shared] == [
        re.sub(r"\d+x", "", irreps) for irreps in sets(cost)
    ]


def test_the_study_s_arm_of_equal_cost_costs_the_same():
    text = (REPOSITORY / "sweeps" / "study" / "cost.yaml").read_text().split("# equal cost")[1]
    ring = torch.arange(18)
    molecule = Data(  # as many atoms and bonds as a molecule of QM9 has on average
        z=torch.full((18,), 6),
        pos=torch.randn(18, 3),
        edge_index=torch.stack([torch.cat([ring, ring]), torch.cat([ring.roll(1), ring.roll(-1)])]),
    )

    def operations(irreps):
        network = EquivariantConvNet(irreps, num_layers=5, radial_hidden=32)
        return network.operations(network.prepare(molecule))

    shared = operations("16x0e+16x1o+16x2e")
    costs = [operations(irreps) / shared for irreps in re.findall(r"- (\d+x\S+)", text)]
    assert costs == pytest.approx([1.0] * 6, rel=0.1)


def complete_graph(num_atoms):
    """Make a molecule in which all atoms are neighbors."""
    pairs = torch.combinations(torch.arange(num_atoms), 2).T
    return Data(
        z=torch.full((num_atoms,), 6),
        pos=torch.randn(num_atoms, 3),
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
    )
