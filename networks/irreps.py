"""Parsing of irreps, and the selection rules that say which blocks can matter.

Imports e3nn's irreps only; nothing here touches a weight or a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

from e3nn import o3

MAX_DEGREE = 11
"""Largest degree l for which e3nn carries Clebsch-Gordan coefficients."""

SCALAR = o3.Irrep("0e")


def natural_parity(degree: int) -> int:
    """Compute the parity (-1)^l of the spherical harmonics of degree l.

    Parameters
    ----------
    degree : int
        l >= 0.

    Returns
    -------
    int
        +1 for even, -1 for odd degrees.
    """
    return 1 if degree % 2 == 0 else -1


def parse_irreps(irreps: str | o3.Irreps) -> o3.Irreps:
    """Read an irreps string into its canonical form: sorted by degree, one block per irrep.

    Parameters
    ----------
    irreps : str or o3.Irreps
        e3nn notation, e.g. ``32x0e+32x1o+32x2e``.

    Returns
    -------
    o3.Irreps
        Blocks sorted by degree and parity, equal irreps merged.

    Raises
    ------
    ValueError
        If the string cannot be parsed, is empty, has a multiplicity of 0, or has a degree over
        `MAX_DEGREE`.
    """
    advice = "write it in e3nn's notation, e.g. 32x0e+32x1o+32x2e"
    try:
        parsed = o3.Irreps(irreps)
    except (ValueError, AssertionError) as error:
        raise ValueError(f"irreps {str(irreps)!r} cannot be parsed: {advice}") from error
    if len(parsed) == 0:
        raise ValueError(f"irreps {str(irreps)!r} is empty: {advice}")
    for mul, ir in parsed:
        if mul < 1:
            raise ValueError(
                f"irreps {str(irreps)!r} gives {ir} a multiplicity of {mul}; it must be at least "
                f"1: leave {ir} out or give it channels"
            )
        if ir.l > MAX_DEGREE:
            raise ValueError(
                f"irreps {str(irreps)!r} has degree l={ir.l}; e3nn supports degrees up to "
                f"l={MAX_DEGREE}: use smaller degrees"
            )
    return parsed.sort().irreps.simplify()


def default_edge_irreps(irreps: o3.Irreps) -> o3.Irreps:
    """Choose the edges' spherical harmonics: every degree of the features once, natural parity.

    Parameters
    ----------
    irreps : o3.Irreps
        Feature irreps.

    Returns
    -------
    o3.Irreps
        For example ``1x0e+1x1o+1x2e`` for ``32x0e+32x1o+32x2e``.
    """
    return o3.Irreps([(1, (degree, natural_parity(degree))) for degree in sorted(set(irreps.ls))])


def filled_blocks(
    embedding: o3.Irreps,
    edge_irreps: Sequence[o3.Irreps],
    layer_irreps: Sequence[o3.Irreps],
    gated: bool = False,
) -> list[set[o3.Irrep]]:
    """Find the irreps that some chain of tensor product paths can make non-zero.

    Parameters
    ----------
    embedding : o3.Irreps
        Irreps of the atom embedding.
    edge_irreps : sequence of o3.Irreps
        Irreps of the edges that each layer sees.
    layer_irreps : sequence of o3.Irreps
        Irreps of each layer's output.
    gated : bool
        Whether layers are gated: every layer, the first included, has a self-connection, and
        multiplies its blocks of l > 0 by scalars that it makes of its input.

    Returns
    -------
    list of set of o3.Irrep
        For each layer's output, the irreps that can be non-zero. The residual connection or the
        self-connection keeps a filled block filled in the next layer, if that layer has it.
    """
    current = {ir for _, ir in embedding}
    layers: list[set[o3.Irrep]] = []
    for k, (edges, irreps) in enumerate(zip(edge_irreps, layer_irreps, strict=True)):
        carried = current if k > 0 or gated else set()
        fed = {
            ir
            for ir in {SCALAR, *(ir for _, ir in irreps)}
            if ir in carried or any(_couples(source, edges, ir) for source in current)
        }
        closed = gated and SCALAR not in fed  # gates are zero
        current = {ir for _, ir in irreps if ir in fed and not (closed and ir.l > 0)}
        layers.append(current)
    return layers


def reachable_blocks(
    edge_irreps: Sequence[o3.Irreps],
    layer_irreps: Sequence[o3.Irreps],
    readout: o3.Irreps,
    gated: bool = False,
) -> list[set[o3.Irrep]]:
    """Find the irreps from which some chain of tensor product paths leads to the readout.

    Parameters
    ----------
    edge_irreps : sequence of o3.Irreps
        Irreps of the edges that each layer sees.
    layer_irreps : sequence of o3.Irreps
        Irreps of each layer's output.
    readout : o3.Irreps
        Irreps that the readout takes from the last layer (``1x0e`` for a scalar target).
    gated : bool
        Whether layers are gated, see `filled_blocks`.

    Returns
    -------
    list of set of o3.Irrep
        For each layer's output, the irreps that can change the prediction.
    """
    current = {ir for _, ir in layer_irreps[-1] if ir in readout}
    layers = [current]
    for k in range(len(layer_irreps) - 2, -1, -1):
        # The residual connection carries a block to itself; paths of the next layer carry it to
        # others. A block that feeds scalars changes all gates.
        feeds_gates = gated and any(later.l > 0 for later in current)
        ends = current | ({SCALAR} if feeds_gates else set())
        current = {
            ir
            for _, ir in layer_irreps[k]
            if ir in ends or any(_couples(ir, edge_irreps[k + 1], later) for later in ends)
        }
        layers.append(current)
    return layers[::-1]


def _couples(source: o3.Irrep, edge_irreps: o3.Irreps, target: o3.Irrep) -> bool:
    """Whether a tensor product path leads from `source` to `target`."""
    return any(target in source * edge for _, edge in edge_irreps)


def check_irreps(
    irreps: o3.Irreps,
    embedding: o3.Irreps,
    readout: o3.Irreps,
    num_layers: int,
    edge_irreps: o3.Irreps | None = None,
    gated: bool = False,
) -> None:
    """Refuse irreps if a part of them could never be used.

    Parameters
    ----------
    irreps : o3.Irreps
        Canonical feature irreps (see `parse_irreps`).
    embedding : o3.Irreps
        Irreps of the atom embedding.
    readout : o3.Irreps
        Irreps that the readout takes from the last layer.
    num_layers : int
        Number of convolutions.
    edge_irreps : o3.Irreps, optional
        Irreps of the edges; by default `default_edge_irreps`.
    gated : bool
        Whether layers are gated, see `filled_blocks`.

    Raises
    ------
    ValueError
        If the readout's irrep is missing, a block is filled by no path, or a block cannot reach
        the output from any layer. The message names the irrep.
    """
    present = {ir for _, ir in irreps}
    for _, ir in readout:
        if ir not in present:
            raise ValueError(
                f"irreps {irreps} has no {ir}, which the readout needs: add it, "
                f"e.g. 32x{ir}+{irreps}"
            )
    harmonics = default_edge_irreps(irreps) if edge_irreps is None else edge_irreps
    edges, layers = [harmonics] * num_layers, [irreps] * num_layers
    filled = filled_blocks(embedding, edges, layers, gated)
    reachable = reachable_blocks(edges, layers, readout, gated)
    for _, ir in irreps:
        if not any(ir in blocks for blocks in filled):
            raise ValueError(
                f"irreps {irreps}: no tensor product path fills {ir} from {embedding} and edges of "
                f"{harmonics} within {num_layers} layers; degree {ir.l} has natural parity "
                f"{'e' if natural_parity(ir.l) == 1 else 'o'}: leave {ir} out or add what makes it"
            )
        if not any(ir in f and ir in r for f, r in zip(filled, reachable)):
            raise ValueError(
                f"irreps {irreps}: degree l={ir.l} ({ir}) cannot reach the readout ({readout}) "
                f"within {num_layers} layer{'s' if num_layers > 1 else ''}: leave {ir} out or add "
                "layers"
            )


def parse_edge_irreps(edge_irreps: str | o3.Irreps) -> o3.Irreps:
    """Read the irreps of the edges' spherical harmonics.

    Parameters
    ----------
    edge_irreps : str or o3.Irreps
        e3nn notation, e.g. ``0e+1o+2e``.

    Returns
    -------
    o3.Irreps
        Sorted by degree.

    Raises
    ------
    ValueError
        If the string is unusable as irreps, a degree occurs more than once, or a parity is not
        natural: spherical harmonics have multiplicity 1 and parity (-1)^l.
    """
    parsed = parse_irreps(edge_irreps)
    for mul, ir in parsed:
        if mul != 1 or ir.p != natural_parity(ir.l):
            raise ValueError(
                f"edge_irreps {str(edge_irreps)!r} has {mul}x{ir}: spherical harmonics have each "
                "degree once and parity (-1)^l, e.g. 0e+1o+2e"
            )
    return parsed


def parse_readout(irreps_readout: str | o3.Irreps) -> o3.Irreps:
    """Read what a readout takes from the last layer: one irrep, once.

    Parameters
    ----------
    irreps_readout : str or o3.Irreps
        E.g. ``1o`` for a vector.

    Returns
    -------
    o3.Irreps
        E.g. ``1x1o``.

    Raises
    ------
    ValueError
        If the string is unusable as irreps, or names more than one irrep or channel.
    """
    parsed = parse_irreps(irreps_readout)
    if len(parsed) != 1 or parsed[0].mul != 1:
        raise ValueError(
            f"irreps_readout {str(irreps_readout)!r} has several irreps or channels: give one "
            "irrep, 0e for a scalar, 1o for a vector or 2e for a traceless symmetric tensor"
        )
    return parsed
