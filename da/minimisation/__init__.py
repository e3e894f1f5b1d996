"""The cost J, its Hessian, and the minimisers that find its minimum."""
