"""How far covariances reach, field by field, from a window's left-out readings and those before."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from mpi4py import MPI

from da.background.localisation import Ladder, Taper
from da.diagnostics.length_weights import LengthRule, left_out_losses
from plugin.case.background import LengthsSection
from plugin.case.variables import fields_of
from plugin.state.transfer import Transfer
from plugin.window.background.of_case import Background
from plugin.window.observations.innovation import Innovation

_PARTS = np.array([1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 16])  # of the domain's longer side
_ASPECT = 0.5  # length along the vertical over that across
_NEAR = 1 / 64  # of the domain's longer side: readings that are left out together
MOST = 1000  # readings that have a column of U each; more keep the sample's covariances
_JUDGES = 500  # readings whose losses are computed; of more a regular choice


def length_rule(settings: LengthsSection | None, transfer: Transfer) -> LengthRule | None:
    """The lengths that a case weighs: its own, or parts of the domain's longer side, and the sample's. Collective."""
    if settings is None:
        return None
    if settings.tried is None:
        lengths = _PARTS * _longer_side(transfer)
    else:
        lengths = np.sort(np.array(settings.tried, float))[::-1]
    return LengthRule(np.append(np.inf, lengths), _ASPECT, settings.memory, neighbourhood(transfer))


def neighbourhood(transfer: Transfer) -> float:
    """Readings within this distance of each other are left out together [m]. Collective."""
    return _NEAR * _longer_side(transfer)


def _longer_side(transfer: Transfer) -> float:
    places = transfer.grid.places(transfer.comm)
    low, high = (np.array(transfer.comm.allgather(of), float) for of in _corners(places))
    return float(np.max((high.max(axis=0) - low.min(axis=0))[:2]))


def _corners(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return places.min(axis=0, initial=np.inf), places.max(axis=0, initial=-np.inf)


def next_losses(
    before: Mapping[str, list[float]],
    background: Background,
    innovation: Innovation,
    used: np.ndarray,
    comm: MPI.Comm,
) -> dict[str, list[float]]:
    """{field: losses of the lengths, and of no increment} with this window's innovations. Collective.

    before : of the windows before
    background : with the factors of the day
    used : numbers of the readings of now that passed quality control
    """
    rule = background.lengths
    if rule is None or len(used) > MOST:
        return dict(before)
    observed = _observed(background, innovation, comm)

    def compute() -> dict[str, list[float]]:
        readings, losses = innovation.readings, dict(before)
        field = fields_of(readings.variable)
        for name in dict.fromkeys(v.field for v in background.transfer.variables):
            of = used[field[used] == name]
            if len(of) == 0:
                continue
            of = of[:: -(-len(of) // _JUDGES)]
            now = left_out_losses(
                np.array([observed[number] for number in of]),
                readings.position[of],
                innovation.value[of],
                readings.error[of],
                rule,
            )
            losses[name] = rule.joined(np.array(before[name]) if name in before else None, now).tolist()
        return losses

    return comm.bcast(compute() if comm.rank == 0 else None)


def _observed(background: Background, innovation: Innovation, comm: MPI.Comm) -> dict[int, np.ndarray]:
    """{number of a reading: its row of H U} on rank 0. Collective."""
    operator = innovation.operator.operator
    linear = operator if operator.linear else operator.linearised(np.zeros(background.transfer.n_local))
    parts = comm.gather((innovation.operator.reading, background.transform.operator_product(linear)))
    return {int(number): row for part in parts or () for number, row in zip(*part, strict=True)}


def with_lengths(background: Background, losses: Mapping[str, list[float]], n_used: int) -> Background:
    """Background errors whose covariances reach as far as losses say.

    n_used : readings of now and before
    """
    rule = background.lengths
    if rule is None or n_used > MOST:
        return background
    variables = background.transfer.variables
    weights = np.column_stack([rule.weights(_of(losses, v.field)) for v in variables])
    taper = background.taper or plain_taper(background.transfer)
    ladder = Ladder(rule.lengths, rule.aspect, weights)
    return replace(background, taper=replace(taper, ladder=ladder))


def _of(losses: Mapping[str, list[float]], field: str) -> np.ndarray | None:
    return np.array(losses[field]) if field in losses else None


def plain_taper(transfer: Transfer) -> Taper:
    """The Taper that keeps all covariances as they are."""
    places, n = transfer.grid.places(transfer.comm), len(transfer.variables)
    without = np.full(n, np.inf)
    variable = np.tile(np.arange(n), len(places))
    return Taper(np.repeat(places, n, axis=0), variable, without, without, np.ones((n, n)))


def summary(background: Background, losses: Mapping[str, list[float]]) -> dict[str, Any]:
    """For the ledger: what is carried on, and what it means; {} where lengths do not follow the readings."""
    rule = background.lengths
    if rule is None or not losses:
        return {}
    fields = {}
    for name, of in losses.items():
        weights = rule.weights(np.array(of))
        half = Ladder(rule.lengths, rule.aspect, weights[:, None]).half_distance(0)
        fields[name] = {
            "losses": of,
            "weights": [*weights.tolist(), 1.0 - float(weights.sum())],
            "half_distance": half if np.isfinite(half) else None,
        }
    return {"tried": [*rule.lengths[1:].tolist()], "fields": fields}


def lengths_line(entry: Mapping[str, Any] | None) -> str:
    """What a window's line says of its ledger entry; "" where there is none."""
    if not entry:
        return ""
    halves = {name: of["half_distance"] for name, of in entry["fields"].items()}
    words = ", ".join(f"{name} {'nowhere' if half is None else f'{half:.0f} m'}" for name, half in halves.items())
    return f"  covariances halve within {words}"
