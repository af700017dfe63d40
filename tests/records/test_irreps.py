"""Each network has one spelling, which is e3nn's."""

import pytest
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st

from records.configuration import configuration_hash
from records.irreps import canonical_irreps


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(0, 11), st.sampled_from("eo")),
        min_size=1,
        max_size=8,
    )
)
def test_the_spelling_is_that_of_e3nn(terms: list[tuple[int, int, str]]) -> None:
    text = " + ".join(f"{mul}x{degree}{parity}" for mul, degree, parity in terms)
    assert canonical_irreps(text) == str(o3.Irreps(text).sort().irreps.simplify())


@pytest.mark.parametrize("text", ["8x0e + 8x1o", "8x1o+8x0e", "4x0e+4x0e+8x1o", "8x0e+7x1o+1o"])
def test_spellings_of_one_network_have_one_hash(text: str) -> None:
    hashes = {configuration_hash({"model": {"irreps": t}}) for t in (text, "8x0e+8x1o")}
    assert len(hashes) == 1


def test_what_is_no_irreps_comes_back_unchanged() -> None:
    assert canonical_irreps("8x0z + what") == "8x0z + what"
