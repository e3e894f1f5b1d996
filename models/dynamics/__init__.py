"""Learned models of a forecast model: from the codes of a state to those a time step later.

linear    a linear inverse model with its noise covariance
network   residual and recurrent networks about it
training  on roll-outs of several steps
files     safetensors
"""
