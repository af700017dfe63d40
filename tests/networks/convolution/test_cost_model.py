import pytest

from networks.convnet import EquivariantConvNet
from networks.convolution.cost_model import (
    LAYER_OVERHEAD,
    Graph,
    PairShape,
    edge_cost,
    node_cost,
    plan_layer,
)

BONDS = Graph(2.0, symmetric=True)
RADIUS = Graph(16.0, symmetric=True)


def orders(irreps: str, graph: Graph) -> list[str]:
    """Orders chosen for the five layers of the published network."""
    return [layer.contraction.plan(graph).order for layer in EquivariantConvNet(irreps).layers]


def test_weights_come_first_with_few_neighbours_and_sums_with_many() -> None:
    published = "32x0e+32x1o+32x2e"
    assert orders(published, BONDS)[1:4] == ["edges"] * 3
    assert orders(published, RADIUS) == ["nodes"] * 5


def test_centers_are_the_side_of_smaller_degree() -> None:
    pairs = [PairShape(2, 0, 8, 8, 1), PairShape(0, 2, 8, 8, 1)]
    blocks = [(0, 8), (2, 8)]
    plan = plan_layer(pairs, blocks, blocks, hidden=8, graph=RADIUS)
    assert plan.directions == ("to_centers", "from_centers")


def test_the_plan_is_the_cheaper_order() -> None:
    pairs = [PairShape(0, 0, 16, 16, 1), PairShape(1, 1, 16, 16, 2)]
    blocks = [(0, 16), (1, 16)]
    for graph in (BONDS, RADIUS):
        plan = plan_layer(pairs, blocks, blocks, hidden=16, graph=graph)
        assert plan.cost[plan.order] == min(plan.cost.values())
        assert plan.cost["edges"] == edge_cost(blocks, blocks, 16, graph)
        assert plan.cost["nodes"] == LAYER_OVERHEAD + sum(
            min(
                node_cost(pair, 16, graph, direction)
                for direction in ("to_centers", "from_centers")
            )
            for pair in pairs
        )


@pytest.mark.parametrize("order", ["nodes", "edges"])
def test_cost_grows_with_every_size(order: str) -> None:
    def cost(degree: int, channels: int, hidden: int, edges: float) -> float:
        pair = PairShape(degree, degree, channels, channels, degree + 1)
        blocks = [(degree, channels)]
        return plan_layer([pair], blocks, blocks, hidden, Graph(edges, True)).cost[order]

    least = cost(1, 8, 8, 2.0)
    assert cost(2, 8, 8, 2.0) > least
    assert cost(1, 16, 8, 2.0) > least
    assert cost(1, 8, 16, 2.0) > least
    assert cost(1, 8, 8, 4.0) > least


def test_weights_of_an_edge_and_its_reverse_are_counted_once() -> None:
    blocks = [(0, 32), (1, 32)]
    shared, apart = (edge_cost(blocks, blocks, 32, Graph(2.0, same)) for same in (True, False))
    assert 1.4 < apart / shared < 2.0
