"""How the tables of RESULTS.md write sets, differences and themselves.

Imports `reporting`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reporting.compare.statistics import Estimate
from reporting.words.formatting import plain


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; columns whose header ends with ``:`` are aligned to the right."""
    rule = ["---:" if name.endswith(":") else "---" for name in header]
    lines = [[name.removesuffix(":") for name in header], rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def short(irreps: str) -> str:
    """Write a set of irreps with natural parity as its degrees, e.g. ``0, 1, 2 (8)``."""
    blocks = [block.partition("x") for block in irreps.split("+")]
    channels = {mul for mul, _, _ in blocks}
    degrees = ", ".join(ir[:-1] for _, _, ir in blocks)
    return f"{degrees} ({'/'.join(sorted(channels, key=int))})"


def relative(estimate: Estimate) -> str:
    """Write an estimate of a log ratio as a relative difference with its 95 % interval, if any."""
    if not estimate.has_interval:
        return f"{_percent(estimate.mean)} %"
    ends = [_percent(estimate.mean), _percent(estimate.low), _percent(estimate.high)]
    return f"{ends[0]} [{ends[1]}, {ends[2]}] %"


def signed(estimate: Estimate) -> str:
    """Write an estimate of a difference of R² with its 95 % interval, if any."""
    if not estimate.has_interval:
        return _signed(estimate.mean)
    ends = [_signed(estimate.mean), _signed(estimate.low), _signed(estimate.high)]
    return f"{ends[0]} [{ends[1]}, {ends[2]}]"


def _percent(log_ratio: float) -> str:
    if not math.isfinite(log_ratio):
        return plain(None)
    shown = 100 * math.expm1(log_ratio)
    return _minus(f"{shown:+,.{1 if abs(shown) < 10 else 0}f}")


def _signed(value: float) -> str:
    return _minus(f"{value:+.3f}") if math.isfinite(value) else plain(None)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
