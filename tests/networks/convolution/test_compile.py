import pytest

from tests.networks.molecules import batch
from tests.networks.nets import outputs_and_gradients, reference_and_fast, relative_difference


# The compiler itself looks at every input's gradient.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_only_e3nns_tensor_products_are_compiled() -> None:
    reference, fast = reference_and_fast("2x0e+1x1o", num_layers=2)
    with pytest.raises(ValueError, match="fast convolution cannot be compiled"):
        fast.compile_tensor_products()
    data = batch([3, 4])
    expected = outputs_and_gradients(reference, data)
    reference.compile_tensor_products()
    assert relative_difference(expected, outputs_and_gradients(reference, data)) < 1e-12
