"""Choice of the order of contraction from operation counts.

Pure Python: imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
class Choice:
    """An order of contraction and what it costs.

    Attributes
    ----------
    order : {"nodes", "edges"}
        Sum over neighbours first, or weights of every edge first.
    direction : {"down", "up"}
        Whether messages go to the centers or come from them (`networks.contractions`).
    cost : float
        Nanoseconds a node of one training step on one core, roughly.
    """

    order: Order
    direction: Direction
    cost: float


LARGE, WEIGHTS, COUPLING = 80.0, 55.0, 20.0
"""Operations a nanosecond, one core: large products, thin ones (edge weights), 3j couplings."""


def cost(pair: PairShape, hidden: int, graph: Graph, order: Order, direction: Direction) -> float:
    """Estimate the time of one pair in a training step (forward and backward).

    With a the center's and b the neighbour's side, q paths, K radial channels, rho edges a node,
    counted as multiplications and additions:

    - couplings T, twice, and their two derivatives: 8 rho (2a+1) q (2b+1) B
    - "nodes": 6 (2a+1) q B K A at the centers, 8 rho (2a+1) q B K over the slots
    - "edges": 8 rho' q B K A for the weights, rho' counting an edge and its reverse once, and
      6 rho (2a+1) q B A for applying them

    divided by rates measured for products of these shapes (short sums and few rows are slow).

    Parameters
    ----------
    pair : PairShape
        Degrees, channels, number of paths.
    hidden : int
        K.
    graph : Graph
        Density.
    order, direction
        See `Choice`.

    Returns
    -------
    float
        Nanoseconds a node.
    """
    down = direction == "down"
    l_a, l_b = (pair.l_out, pair.l_in) if down else (pair.l_in, pair.l_out)
    m_a, m_b = 2 * l_a + 1, 2 * l_b + 1
    mul_a, mul_b = (pair.mul_out, pair.mul_in) if down else (pair.mul_in, pair.mul_out)
    rho, twins = graph.edges_per_node, 2 if graph.symmetric else 1
    rows = m_a * pair.num_paths * mul_b
    total = 8 * rho * rows * m_b / COUPLING
    if order == "nodes":
        sums = 60 * rho / (rho + 3)
        return total + 6 * rows * hidden * mul_a / LARGE + 8 * rho * rows * hidden / sums
    applied = 60 * m_a * twins / (m_a * twins + 10)
    weights = 8 * rho / twins * pair.num_paths * mul_b * hidden * mul_a / WEIGHTS
    return total + weights + 6 * rho * rows * mul_a / applied


def choose(pairs: Sequence[PairShape], hidden: int, graph: Graph) -> list[Choice]:
    """Choose one order for all pairs of a layer, and the direction of each pair.

    Parameters
    ----------
    pairs : sequence of PairShape
        All paths of the layer.
    hidden : int
        Radial channels.
    graph : Graph
        Density.

    Returns
    -------
    list of Choice
        One a pair, all of the same order.
    """
    plans = []
    for order in ORDERS:
        plan = []
        for pair in pairs:
            costs = [(cost(pair, hidden, graph, order, way), way) for way in DIRECTIONS]
            least, direction = min(costs, key=lambda entry: entry[0])
            plan.append(Choice(order, direction, least))
        plans.append(plan)
    return min(plans, key=lambda plan: sum(choice.cost for choice in plan))
