"""Choice of the order of contraction from operation counts.

Pure Python: imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Blocks = Sequence[tuple[int, int]]
Order = Literal["nodes", "edges"]
Direction = Literal["down", "up"]
ORDERS: tuple[Order, ...] = ("nodes", "edges")
DIRECTIONS: tuple[Direction, ...] = ("down", "up")


@dataclass(frozen=True)
class PairShape:
    """All paths from one input block to one output block.

    Attributes
    ----------
    l_in, l_out : int
        Degrees.
    mul_in, mul_out : int
        Channels.
    num_paths : int
        Edge degrees that couple the two.
    """

    l_in: int
    l_out: int
    mul_in: int
    mul_out: int
    num_paths: int


@dataclass(frozen=True)
class Graph:
    """What the cost depends on.

    Attributes
    ----------
    edges_per_node : float
        Directed edges divided by nodes.
    symmetric : bool
        Whether an edge shares its weights with its reverse.
    """

    edges_per_node: float
    symmetric: bool


@dataclass(frozen=True)
class Plan:
    """How a layer is contracted.

    Attributes
    ----------
    order : {"nodes", "edges"}
        Sum over neighbours first (`networks.convolution.nodes_first`), or weights of every edge first
        (`networks.convolution.edges_first`).
    directions : tuple of {"down", "up"}
        For "nodes", of each pair: whether messages go to the centers or come from them.
    cost : dict
        Nanoseconds a node of one training step on one core by order, roughly.
    """

    order: Order
    directions: tuple[Direction, ...]
    cost: dict[Order, float]


LARGE, SUMS, WEIGHTS, APPLYING, TURNING = 59.0, 109.0, 88.0, 35.0, 37.0
"""Operations a nanosecond on one core: products at the centers, sums over neighbours, weights of
edges, applying them, turning into frames; fitted to measured layers (`benchmarks.cost_model`)."""
MOVING_NODES, MOVING_EDGES = 7.5, 5.8
"""Nanoseconds a number of an edge that is gathered, coupled and scattered."""
LAYER, PAIR, TERM = 2500.0, 2000.0, 600.0
"""Nanoseconds a node for starting the operations of a layer ("nodes"), of a pair and of a term, in
batches of some 600 nodes."""


def node_cost(pair: PairShape, hidden: int, graph: Graph, direction: Direction) -> float:
    """Estimate the time of one pair in a training step, sums over neighbours first.

    With a the center's and b the neighbour's side, q paths, K radial channels, rho edges a node,
    counted as multiplications and additions (forward, backward and computing again):
    6 (2a+1) q B K A at the centers and 8 rho (2a+1) q B K over the slots. Couplings cost the time
    to move T, rho (2a+1) q B numbers.

    Parameters
    ----------
    pair : PairShape
        Degrees, channels, number of paths.
    hidden : int
        K.
    graph : Graph
        Density.
    direction : {"down", "up"}
        Of the messages.

    Returns
    -------
    float
        Nanoseconds a node.
    """
    ends = ((pair.l_out, pair.mul_out), (pair.l_in, pair.mul_in))
    (l_a, mul_a), (_, mul_b) = ends if direction == "down" else ends[::-1]
    rho = graph.edges_per_node
    rows = (2 * l_a + 1) * pair.num_paths * mul_b
    products = 6 * rows * hidden * mul_a / LARGE + 8 * rho * rows * hidden / SUMS
    return products + MOVING_NODES * rho * rows + PAIR


def edge_cost(blocks_in: Blocks, blocks_out: Blocks, hidden: int, graph: Graph) -> float:
    """Estimate the time of a layer in a training step, weights of every edge first.

    With I(m) and O(m) channels of all blocks of degree >= m at the two ends, K radial channels,
    rho edges a node, rho' counting an edge and its reverse once, R rows of a block in the frames:

    - weights, twice, and their two derivatives: 8 rho' K sum_m I(m) O(m)
    - applying them, and the two derivatives: 6 rho sum_m (1 or 2) I(m) O(m)
    - turning blocks into frames and back, 3 times: 6 rho sum_blocks R (2l+1) mul
    - moving rho sum_blocks (R + 2l+1) mul numbers

    Parameters
    ----------
    blocks_in, blocks_out : sequence of (int, int)
        Degree and multiplicity of every block.
    hidden : int
        K.
    graph : Graph
        Density.

    Returns
    -------
    float
        Nanoseconds a node.
    """
    rho, twins = graph.edges_per_node, 2 if graph.symmetric else 1
    both = (*blocks_in, *blocks_out)
    max_order = min(max(degree for degree, _ in blocks) for blocks in (blocks_in, blocks_out))
    total = TERM * len(both)
    for m in range(max_order + 1):
        members = [[mul for degree, mul in b if degree >= m] for b in (blocks_in, blocks_out)]
        size = sum(members[0]) * sum(members[1])
        total += 8 * rho / twins * hidden * size / WEIGHTS
        total += 6 * rho * (2 if m else 1) * size / APPLYING
        total += TERM * len(members[1])
    for degree, mul in both:
        rows, dim = min(2 * degree + 1, 2 * max_order + 1), 2 * degree + 1
        total += 6 * rho * rows * dim * mul / TURNING + MOVING_EDGES * rho * (rows + dim) * mul
    return total


def plan_layer(
    pairs: Sequence[PairShape], blocks_in: Blocks, blocks_out: Blocks, hidden: int, graph: Graph
) -> Plan:
    """Choose how to contract a layer.

    Parameters
    ----------
    pairs : sequence of PairShape
        All paths of the layer.
    blocks_in, blocks_out : sequence of (int, int)
        Degree and multiplicity of every block.
    hidden : int
        Radial channels.
    graph : Graph
        Density.

    Returns
    -------
    Plan
    """
    costs = [{way: node_cost(pair, hidden, graph, way) for way in DIRECTIONS} for pair in pairs]
    directions = tuple(min(cost, key=cost.__getitem__) for cost in costs)
    cost: dict[Order, float] = {
        "nodes": LAYER + sum(min(cost.values()) for cost in costs),
        "edges": edge_cost(blocks_in, blocks_out, hidden, graph),
    }
    return Plan(min(ORDERS, key=cost.__getitem__), directions, cost)
