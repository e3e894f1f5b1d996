import copy

import numpy as np
import pytest
import torch
from mpi4py import MPI
from networks import BackwardOnly, Bent, Convolutional, Linear, NoTangent, OnceOnly, make_decoder, tsvd_basis, vector
from small_problem import N, relative_difference

from models.decoder import DecoderError, decodes, parallel_decoder
from models.local_network import PlainPasses

COMM = MPI.COMM_SELF
SCALE = np.where(np.arange(N) % 7 == 0, 0.0, 1.0 + vector(seed=9) ** 2)
NETWORKS = {
    "linear": lambda: Linear(tsvd_basis()),
    "bent": lambda: Bent(tsvd_basis()),
    "backward": lambda: BackwardOnly(tsvd_basis()),
    "once": lambda: OnceOnly(tsvd_basis()),
    "convolutional": lambda: Convolutional().double(),
}


@pytest.fixture(params=list(NETWORKS))
def decoder(request):
    return make_decoder(COMM, NETWORKS[request.param](), SCALE)


def test_order_and_units_of_the_state():
    network = Convolutional().double()
    decoder = make_decoder(COMM, network, SCALE)
    z = vector(6)
    with torch.no_grad():
        field = network.decode(torch.as_tensor(z)[None])[0].numpy()
        state = vector(seed=1)
        # values without a scale are nothing to the network
        scaled = np.divide(state, SCALE, out=np.zeros(N), where=SCALE > 0.0).reshape(5, 6, 5, 2)
        latent = network.encode(torch.as_tensor(scaled).permute(3, 0, 1, 2)[None])[0].numpy()
    expected = np.array([field[c, i, j, k] for i in range(5) for j in range(6) for k in range(5) for c in range(2)])
    np.testing.assert_allclose(decoder.apply(z), SCALE * expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(decoder.encode(state), latent, rtol=1e-12)


def test_states_are_encoded_column_by_column(decoder):
    states = np.stack([vector(seed=1), vector(seed=2)], axis=1)
    together = decoder.encode(states)
    assert together.shape == (6, 2)
    for k in range(2):
        np.testing.assert_array_equal(together[:, k], decoder.encode(states[:, k]))
    assert decoder.encode(np.empty((N, 0))).shape == (6, 0)


def test_tangent_and_adjoint_are_transposes(decoder):
    z, p, dx = vector(6, 1), vector(6, 2), vector(seed=3)
    tangent, pulled = decoder.tangent(p, at=z), decoder.adjoint(dx, at=z)
    assert tangent @ dx == pytest.approx(p @ pulled, rel=1e-12)
    assert pulled.dtype == tangent.dtype == np.float64


def test_taylor(decoder):
    z, p = vector(6, 1), vector(6, 2)
    value, slope = decoder.apply(z), decoder.tangent(p, at=z)
    remainder = [np.linalg.norm(decoder.apply(z + h * p) - value - h * slope) for h in (1e-3, 1e-4)]
    # of second order, or none at all where g is linear
    assert remainder[1] < 1e-12 * np.linalg.norm(value) or 80.0 < remainder[0] / remainder[1] < 120.0


@pytest.mark.parametrize("kept", [False, True])
def test_ways_of_a_tangent(kept):
    z, p = vector(6, 1), vector(6, 2)
    for name in NETWORKS:
        decoder = make_decoder(COMM, NETWORKS[name](), SCALE)
        expected = (decoder.apply(z + 1e-5 * p) - decoder.apply(z - 1e-5 * p)) / 2e-5
        decoder.apply(z, keep=kept)
        before = decoder.passes().decodes
        for factor in (1.0, -2.0):
            assert relative_difference(decoder.tangent(factor * p, at=z), factor * expected) < 1e-8
        told = decoder.passes()
        # where activations are kept they are used, if the network lets us; where not, forward mode if it has one
        assert told.forward_mode == (kept or name != "backward"), name
        assert told.twice == (not kept or name != "once"), name
        assert told.decodes == before + (not kept and name == "backward")
        assert (decoder.local.cache.pulled_back is not None) == (told.decodes > before or (kept and name != "once"))


def test_all_ways_of_a_tangent_agree():
    decoder = make_decoder(COMM, Convolutional().double(), SCALE)
    z, p = vector(6, 1), vector(6, 2)
    for at in (z, z + 1.0):
        forward = decoder.tangent(p, at=at)
        decoder.apply(at, keep=True)
        assert relative_difference(decoder.tangent(p, at=at), forward) < 1e-13


def test_adjoint_where_it_was_decoded_runs_no_other_decode(decoder):
    z = vector(6)
    decoder.apply(z, keep=True)
    first = decoder.adjoint(vector(), at=z)
    assert (decoder.passes().decodes, decoder.passes().adjoints) == (1, 1)
    decoder.apply(z)
    assert decoder.passes().decodes == 1
    decoder.adjoint(vector(), at=2.0 * z)
    assert decoder.passes().decodes == 2
    assert relative_difference(decoder.adjoint(vector(), at=z), first) < 1e-14
    decoder.release()
    decoder.apply(z)
    assert decoder.passes().decodes == 4


def test_float32_network_and_float64_around_it():
    double, single = Convolutional().double(), Convolutional()
    a, b = make_decoder(COMM, double, SCALE), make_decoder(COMM, single, SCALE)
    z, p, dx = vector(6, 1), vector(6, 2), vector(seed=3)
    assert b.dtype == np.float32
    for x, y in (
        (a.apply(z), b.apply(z)),
        (a.adjoint(dx, at=z), b.adjoint(dx, at=z)),
        (a.tangent(p, at=z), b.tangent(p, at=z)),
        (a.encode(dx), b.encode(dx)),
    ):
        assert y.dtype == np.float64
        assert 1e-12 < relative_difference(y, x) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_of_half_precision_computes_in_float32_with_its_weights(dtype):
    half = Convolutional().to(dtype)
    a, b = make_decoder(COMM, half, SCALE), make_decoder(COMM, copy.deepcopy(half).float(), SCALE)
    z, p, dx = vector(6, 1), vector(6, 2), vector(seed=3)
    assert a.dtype == np.float32 and next(half.parameters()).dtype == dtype
    np.testing.assert_array_equal(a.apply(z, keep=True), b.apply(z, keep=True))
    np.testing.assert_array_equal(a.adjoint(dx, at=z), b.adjoint(dx, at=z))
    np.testing.assert_array_equal(a.tangent(p, at=z), b.tangent(p, at=z))
    np.testing.assert_array_equal(a.encode(dx), b.encode(dx))


def test_the_callers_network_stays_as_it_was():
    network = Convolutional().train()
    decoder = make_decoder(COMM, network, SCALE)
    decoder.apply(vector(6), keep=True)
    decoder.adjoint(vector(), at=vector(6))
    assert network.training and all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not decoder.network.training


def test_faster_passes_where_no_derivative_follows():
    network, asked = Convolutional().double(), []

    def faster(own):
        assert own is not network and not own.training
        return PlainPasses(
            lambda fields: asked.append("encode") or own.encode(fields).detach(),
            lambda z: asked.append("decode") or own.decode(z).detach(),
        )

    decoder, z = parallel_decoder(network, SCALE, COMM, faster=faster), vector(6)
    expected = make_decoder(COMM, network, SCALE)
    np.testing.assert_array_equal(decoder.apply(z), expected.apply(z))
    assert asked == ["decode"]
    decoder.apply(z + 1.0, keep=True)
    np.testing.assert_array_equal(decoder.adjoint(vector(), at=z), expected.adjoint(vector(), at=z))
    np.testing.assert_array_equal(decoder.tangent(z, at=z), expected.tangent(z, at=z))
    assert asked == ["decode"]
    np.testing.assert_array_equal(decoder.encode(vector()), expected.encode(vector()))
    assert asked == ["decode", "encode"]


class Broken(Linear):
    def g(self, z):
        raise MemoryError("no room for the field")


def test_what_is_wrong_is_told():
    with pytest.raises(ValueError, match="given no network"):
        parallel_decoder(None, SCALE, COMM)
    with pytest.raises(ValueError, match=r"2 variables on \(5, 6, 5\) = 300 values, the state has 298"):
        parallel_decoder(Linear(tsvd_basis()), SCALE[:298], COMM)
    with pytest.raises(ValueError, match="computes in torch.float8_e5m2, expected float32 or float64"):
        parallel_decoder(Convolutional().to(torch.float8_e5m2), SCALE, COMM)
    # torch would leave out what it cannot differentiate twice
    decoder = make_decoder(COMM, NoTangent(tsvd_basis()), SCALE)
    decoder.apply(vector(6), keep=True)
    with pytest.raises(DecoderError, match="no second derivative"):
        decoder.tangent(vector(6), at=vector(6))
    with pytest.raises(DecoderError, match="MemoryError: no room for the field"):
        make_decoder(COMM, Broken(tsvd_basis()), SCALE).apply(vector(6))
    assert decodes(COMM)


def test_over_ranks_and_groups(mpirun):
    for n in (1, 2, 3):
        mpirun(n, "tests/models/parallel_decoder.py", timeout=200)
