"""Equal up to rounding."""

import torch


def near(x, y, tolerance=1e-6):
    """Assert that `x` is `y` (numbers or a tensor), absolutely and relatively."""
    y = torch.as_tensor(y, dtype=x.dtype)
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)
