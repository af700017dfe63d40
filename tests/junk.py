"""Hypothesis strategies for what users may type: damaged, extreme and hostile values, and YAML.

``IRREPSCOPE_FUZZ=20 pytest tests/test_fuzz.py`` tries twenty times as many examples.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SCALE = int(os.environ.get("IRREPSCOPE_FUZZ", "1"))


def examples(count: int) -> settings:
    """Make settings for a test with `count` examples, which are the same in every run."""
    return settings(
        max_examples=count * SCALE,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


WORDS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "", " ", "-", "--", "=", "null", "None", "~", "true", "nan", ".inf", "-.inf", "1e999", "-1",
        "0", "1e-400", "0x10", "99999999999999999999", "[", "{", "[]", "{}", "[[[[[]]]]]", "a: b",
        "\0", "\n", "\t", "\ud800", "é", "𝟙x𝟘e", "../..", "/", "/proc/x", "/dev/null", ".", "~x/y",
        "!!python/object/apply:os.system ['touch PWNED']", "&a [*a]", "*a", "%(x)s", "${x}", "$(x)",
        "os.system", "torch.load", "a" * 5000,
    ]
)  # fmt: skip
IRREPS = st.lists(
    st.tuples(
        st.sampled_from(["", "1x", "4x", "0x", "-3x", "99999999x", "1.5x", "x", "1x1x", "१x"]),
        st.sampled_from(["0e", "1o", "2e", "1e", "11o", "12e", "0", "e", "0E", "-1o", "999999e"]),
    ).map("".join),
    max_size=4,
).map("+".join)
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([10**6, 10**12, 10**30, -(10**30), 2**31, 2**63])
    | st.floats()
    | st.sampled_from([1e-300, 1e300])
)
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS | IRREPS
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | NUMBERS, inner, max_size=3),
    max_leaves=6,
)


def mutated(valid: Any) -> st.SearchStrategy[Any]:
    """Replace some leaves, keys or branches of a valid nested value."""
    if isinstance(valid, dict):
        kept = st.fixed_dictionaries({key: mutated(value) for key, value in valid.items()})
        fewer = st.sets(st.sampled_from(sorted(valid)), max_size=2) if valid else st.just(set())
        more = st.dictionaries(WORDS, SCALARS, max_size=1)
        changed = st.builds(
            lambda full, gone, new: {k: v for k, v in full.items() if k not in gone} | new,
            kept, fewer, st.just({}) | more,
        )  # fmt: skip
        return changed | kept
    if isinstance(valid, list):
        return st.just(valid) | st.lists(VALUES, max_size=3)
    return st.one_of(st.just(valid), st.just(valid), st.just(valid), VALUES)
