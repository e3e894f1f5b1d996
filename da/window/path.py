"""From a control to the path of codes over a window, and back.

    strong   z_0 = z_b + V_l w,  z_k = F(z_{k−1})                the control is w
    weak     z_0 = z_b + V_l w,  z_k = F(z_{k−1}) + L η_k        the control is (w, η_1 … η_K),  L Lᵀ = Q

At zero control the path is the background's, F^k(z_b), and the increment of a step is δx_k = g(z_k) − g(F^k(z_b)), the
centred form of `da.background.latent`.
"""

from dataclasses import dataclass

import numpy as np

from da.background.latent import DecodedTransform
from da.window.dynamics import CodeDynamics


@dataclass(frozen=True)
class LatentWindow:
    """Paths of codes about a background's. Made by `latent_window`.

    transform : DecodedTransform of the window's start, centred
    dynamics : F
    noise : (m, q) L, for the weak constraint; None for the strong one
    base : (K + 1, m) F^k(z_b), the background's path
    """

    transform: DecodedTransform
    dynamics: CodeDynamics
    noise: np.ndarray | None
    base: np.ndarray

    @property
    def n_steps(self) -> int:
        """K, steps of F in the window."""
        return len(self.base) - 1

    @property
    def n_control(self) -> int:
        """s, or s + K q."""
        return self.transform.n_control + (0 if self.noise is None else self.n_steps * self.noise.shape[1])

    def codes(self, control: np.ndarray) -> np.ndarray:
        """The path of a control: (n_control,) → (K + 1, m)."""
        start, forcing = self._parts(control)
        path = np.empty_like(self.base)
        path[0] = self.transform.latent(start)
        for k in range(self.n_steps):
            path[k + 1] = self.dynamics.step(path[k]) + forcing[k]
        return path

    def tangent(self, direction: np.ndarray, path: np.ndarray) -> np.ndarray:
        """How a path moves along a direction of the control: (n_control,), (K + 1, m) → (K + 1, m)."""
        start, forcing = self._parts(direction)
        moved = np.empty_like(self.base)
        moved[0] = self.transform.modes.vectors @ start
        for k in range(self.n_steps):
            moved[k + 1] = self.dynamics.tangent(moved[k], at=path[k]) + forcing[k]
        return moved

    def adjoint(self, sensitivity: np.ndarray, path: np.ndarray) -> np.ndarray:
        """The transpose of `tangent`, one sweep backwards: (K + 1, m), (K + 1, m) → (n_control,)."""
        pulled, of_noise = sensitivity[-1], []
        for k in range(self.n_steps, 0, -1):
            if self.noise is not None:
                of_noise.append(self.noise.T @ pulled)
            pulled = sensitivity[k - 1] + self.dynamics.adjoint(pulled, at=path[k - 1])
        return np.concatenate([self.transform.modes.vectors.T @ pulled, *reversed(of_noise)])

    def control_of(self, increment: np.ndarray) -> np.ndarray:
        """The control of an increment at the window's start, without noise: (n_local,) → (n_control,). Collective."""
        control = np.zeros(self.n_control)
        control[: self.transform.n_control] = self.transform.control_of(increment)
        return control

    def increment(self, path: np.ndarray, step: int) -> np.ndarray:
        """δx of a path at a step: (K + 1, m) → (n_local,) in the state's units, by two decodes. Collective."""
        decoder = self.transform.decoder
        return decoder.apply(path[step]) - decoder.apply(self.base[step])

    def check_step(self, step: int | None) -> int:
        """The step, the last one for None; ValueError if it is not of the window."""
        step = self.n_steps if step is None else step
        if not 0 <= step <= self.n_steps:
            raise ValueError(f"increment of step {step} in a window of steps 0 to {self.n_steps}")
        return step

    def _parts(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """V_l's part of a control, (s,), and what noise adds in each step, (K, m)."""
        start, rest = np.split(control, [self.transform.n_control])
        if self.noise is None:
            return start, np.zeros((self.n_steps, self.base.shape[1]))
        return start, rest.reshape(self.n_steps, self.noise.shape[1]) @ self.noise.T


def latent_window(
    transform: DecodedTransform, dynamics: CodeDynamics, n_steps: int, noise: np.ndarray | None = None
) -> LatentWindow:
    """The window that begins at a transform's background.

    Parameters
    ----------
    transform : DecodedTransform in the centred form, of the background at the window's start
    dynamics : F
    n_steps : K, zero or more
    noise : (m, q) root of the covariance of F's errors in a step, the same on every rank, see
        `da.window.dynamics.noise_root`. None is the strong constraint: F is taken as perfect

    Returns
    -------
    LatentWindow

    Raises
    ------
    ValueError
        if the transform is not centred, the steps are fewer than none, the noise does not fit the codes, or F leaves
        the finite numbers within the window
    """
    if transform.base is None:
        raise ValueError("a transform in the paper's form has no code of the background; a window needs a centred one")
    if n_steps < 0:
        raise ValueError(f"a window of {n_steps} steps, expected zero or more")
    m = transform.modes.n_latent
    if noise is not None and (noise.ndim != 2 or len(noise) != m or not np.isfinite(noise).all()):
        raise ValueError(f"noise of shape {noise.shape}, expected ({m}, any) finite numbers for codes of {m}")
    base = np.empty((n_steps + 1, m))
    base[0] = transform.base
    for k in range(n_steps):
        base[k + 1] = dynamics.step(base[k])
        if not np.isfinite(base[k + 1]).all():
            raise ValueError(f"the forecast of codes is not finite after {k + 1} steps; use fewer, or a stable model")
    return LatentWindow(transform, dynamics, noise, base)
