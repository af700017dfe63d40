"""Irreps strings against e3nn's own."""

import pytest
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st

from reporting.read.irreps import (
    canonical_irreps,
    degree_of,
    format_irreps,
    parse_irreps,
    shortest_labels,
    without_irrep,
)

TERMS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 11), st.sampled_from("eo")), min_size=1, max_size=5
)


@given(TERMS)
def test_parsing_agrees_with_e3nn(terms):
    text = "+".join(f"{mul}x{degree}{parity}" for mul, degree, parity in terms)
    irreps = o3.Irreps(text)
    parsed = parse_irreps(text)
    assert {name: irreps.count(name) for name in parsed} == parsed
    assert sum(parsed.values()) == irreps.num_irreps
    assert o3.Irreps(format_irreps(parsed)).simplify() == o3.Irreps(format_irreps(parsed))


def test_a_single_channel_needs_no_number():
    assert parse_irreps("0e + 2x1o") == {"0e": 1, "1o": 2}


@pytest.mark.parametrize("text", ["", "16x", "16x1", "1x1a", "0e,1o", "16x0e+"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="16x0e"):
        parse_irreps(text)


def test_equal_irreps_have_equal_canonical_strings():
    assert canonical_irreps("8x1o + 16x0e + 8x1o") == "16x0e+16x1o"


def test_leaving_an_irrep_out():
    assert without_irrep("16x0e+16x1o+16x2e", "1o") == "16x0e+16x2e"
    assert degree_of("11o") == 11


def test_labels_leave_equal_multiplicities_out():
    assert shortest_labels(["16x0e", "16x0e+16x1o"]) == {"16x0e": "0e", "16x0e+16x1o": "0e+1o"}
    assert shortest_labels(["16x0e", "32x0e"]) == {"16x0e": "16x0e", "32x0e": "32x0e"}
