"""Gradients of a layer against differences."""

import torch


def check_gradient(layer, x):
    """Backward and forward mode in float64 and evaluation mode: to the input, and to all parameters along one line."""
    layer, x = layer.double().eval(), x.double().requires_grad_()
    start = {name: value.detach().clone() for name, value in layer.named_parameters()}
    along = {name: torch.randn_like(value) for name, value in start.items()}

    def call(x, t):
        return torch.func.functional_call(layer, {name: start[name] + t * along[name] for name in start}, x)

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x, t), check_forward_ad=True, fast_mode=True)
