"""The order of contraction, chosen by operation counts.

Imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Blocks = Sequence[tuple[int, int]]
"""Degree and multiplicity of each block."""

Order = Literal["nodes", "edges"]
"""What comes first: sums over neighbours at the nodes, or the weights of every edge."""

Direction = Literal["to_centers", "from_centers"]
"""Whether the nodes at which sums over neighbours are kept receive the messages or send them."""

ORDERS: tuple[Order, ...] = ("nodes", "edges")
DIRECTIONS: tuple[Direction, ...] = ("to_centers", "from_centers")


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
        Number of edge degrees that couple the two.
    """

    l_in: int
    l_out: int
    mul_in: int
    mul_out: int
    num_paths: int


@dataclass(frozen=True)
class Graph:
    """The density of a batch's graph, on which costs depend.

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
        Sums over neighbours first (`networks.convolution.nodes_first`), or the weights of every
        edge first (`networks.convolution.edges_first`).
    directions : tuple of {"to_centers", "from_centers"}
        For the order "nodes", the direction of each pair of blocks.
    cost : dict
        Estimated nanoseconds per node of one training step on one core, for each order.
    """

    order: Order
    directions: tuple[Direction, ...]
    cost: dict[Order, float]


CENTER_PRODUCT_RATE = 59.0
NEIGHBOR_SUM_RATE = 109.0
EDGE_WEIGHT_RATE = 88.0
MESSAGE_RATE = 35.0
ROTATION_RATE = 37.0
"""Operations per nanosecond on one core: products at the centers, sums over neighbours, weights of
edges, their products with features, and rotations into frames. Fitted to measured layers
(`benchmarks.cost_model`), as are all constants here."""

NODES_FIRST_MOVE, EDGES_FIRST_MOVE = 7.5, 5.8
"""Nanoseconds per element of an edge that is gathered, coupled and scattered."""

LAYER_OVERHEAD, PAIR_OVERHEAD, TERM_OVERHEAD = 2500.0, 2000.0, 600.0
"""Nanoseconds per node for starting the operations of a layer ("nodes"), of a pair of blocks and of
a term, in batches of some 600 nodes."""


def node_cost(pair: PairShape, hidden: int, graph: Graph, direction: Direction) -> float:
    """Estimate the time of one pair in a training step, sums over neighbours first.

    The center's block has degree a and A channels, the neighbour's B channels. With q paths, K
    radial channels and rho edges per node, the forward and the backward pass (with what it computes
    again) take 6 (2a+1) q B K A multiplications and additions at the centers and 8 rho (2a+1) q B K
    over the slots. Couplings cost the time to move the rho (2a+1) q B elements of T.

    Parameters
    ----------
    pair : PairShape
        Degrees, channels, number of paths.
    hidden : int
        K.
    graph : Graph
        Density of the batch.
    direction : {"to_centers", "from_centers"}
        Direction of the messages.

    Returns
    -------
    float
        Nanoseconds per node.
    """
    if direction == "to_centers":
        l_center, mul_center, mul_neighbor = pair.l_out, pair.mul_out, pair.mul_in
    else:
        l_center, mul_center, mul_neighbor = pair.l_in, pair.mul_in, pair.mul_out
    rho = graph.edges_per_node
    rows = (2 * l_center + 1) * pair.num_paths * mul_neighbor
    products = 6 * rows * hidden * mul_center / CENTER_PRODUCT_RATE
    sums = 8 * rho * rows * hidden / NEIGHBOR_SUM_RATE
    return products + sums + NODES_FIRST_MOVE * rho * rows + PAIR_OVERHEAD


def edge_cost(blocks_in: Blocks, blocks_out: Blocks, hidden: int, graph: Graph) -> float:
    """Estimate the time of a layer in a training step, weights of every edge first.

    I(m) and O(m) are the channels of all blocks of degree >= m at the two ends, K is the number of
    radial channels, rho that of edges per node (rho' counts an edge and its reverse once), and R
    that of a block's rows in the frames. The operations are

    - weights, twice, and their two derivatives: 8 rho' K sum_m I(m) O(m)
    - their products with features, and the two derivatives: 6 rho sum_m (1 or 2) I(m) O(m)
    - rotations of blocks into frames and back, 3 times: 6 rho sum_blocks R (2l+1) mul
    - moving rho sum_blocks (R + 2l+1) mul elements

    Parameters
    ----------
    blocks_in, blocks_out : Blocks
        Blocks of the two ends.
    hidden : int
        K.
    graph : Graph
        Density of the batch.

    Returns
    -------
    float
        Nanoseconds per node.
    """
    rho = graph.edges_per_node
    rho_undirected = rho / 2 if graph.symmetric else rho
    blocks = (*blocks_in, *blocks_out)
    max_order = min(max(degree for degree, _ in ends) for ends in (blocks_in, blocks_out))
    total = TERM_OVERHEAD * len(blocks)
    for m in range(max_order + 1):
        muls_in, muls_out = (
            [mul for degree, mul in ends if degree >= m] for ends in (blocks_in, blocks_out)
        )
        size = sum(muls_in) * sum(muls_out)
        total += 8 * rho_undirected * hidden * size / EDGE_WEIGHT_RATE
        total += 6 * rho * (2 if m else 1) * size / MESSAGE_RATE
        total += TERM_OVERHEAD * len(muls_out)
    for degree, mul in blocks:
        rows, dim = min(2 * degree + 1, 2 * max_order + 1), 2 * degree + 1
        total += 6 * rho * rows * dim * mul / ROTATION_RATE
        total += EDGES_FIRST_MOVE * rho * (rows + dim) * mul
    return total


def plan_layer(
    pairs: Sequence[PairShape], blocks_in: Blocks, blocks_out: Blocks, hidden: int, graph: Graph
) -> Plan:
    """Choose how to contract a layer.

    Parameters
    ----------
    pairs : sequence of PairShape
        Pairs of blocks, with all paths of the layer.
    blocks_in, blocks_out : Blocks
        Blocks of the two ends.
    hidden : int
        Radial channels.
    graph : Graph
        Density of the batches.
    """
    pair_costs = [
        {direction: node_cost(pair, hidden, graph, direction) for direction in DIRECTIONS}
        for pair in pairs
    ]
    directions = tuple(min(costs, key=costs.__getitem__) for costs in pair_costs)
    cost: dict[Order, float] = {
        "nodes": LAYER_OVERHEAD + sum(min(costs.values()) for costs in pair_costs),
        "edges": edge_cost(blocks_in, blocks_out, hidden, graph),
    }
    return Plan(min(ORDERS, key=cost.__getitem__), directions, cost)
