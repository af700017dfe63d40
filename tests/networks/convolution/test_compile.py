import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter

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


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_no_layer_falls_back_to_uncompiled_code() -> None:
    """Five layers with and without gradients: more compilations than torch grants to one code."""
    uncompiled, reference = (reference_and_fast("2x0e", num_layers=5)[0] for _ in range(2))
    compiler = CompileCounter()
    torch.compiler.reset()
    reference.compile_tensor_products(backend=compiler)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for sizes in ([3, 4], [4, 4, 5]):
            data = batch(sizes)
            expected = outputs_and_gradients(uncompiled, data)
            assert relative_difference(expected, outputs_and_gradients(reference, data)) < 1e-12
            with torch.inference_mode():
                prediction = reference.run(reference.prepare(data))
            assert torch.allclose(prediction, expected["prediction"])
    assert compiler.frame_count >= 5 * 2, "a layer was not compiled"
    compiled = compiler.frame_count
    copied = copy.deepcopy(reference)
    assert relative_difference(expected, outputs_and_gradients(copied, data)) < 1e-12
    assert compiler.frame_count == compiled, "a copy uses the original's tensor product"
    torch.compiler.reset()
