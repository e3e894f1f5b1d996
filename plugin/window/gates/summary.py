"""What gates did to an analysis, in a line for people."""

from collections.abc import Mapping
from typing import Any


def gates_summary(gates: Mapping[str, Any]) -> str:
    """A line of a ledger entry's `gates`; empty where they left the analysis as it was."""
    words = []
    for name, of in gates.get("taper", {}).items():
        words.append(f"{name} {of['kept']:.0%} within the taper")
    if "divergence" in gates:
        of = gates["divergence"]
        words.append(f"divergence {of['before']:.2g} → {of['after']:.2g} /s, {of['kept']:.0%} of the increment kept")
    largest = gates.get("largest", {"factor": 1.0})
    if largest["factor"] < 1.0:
        sizes = ", ".join(f"{name} {size:.3g}" for name, size in largest["increment"].items())
        done = f"scaled by {largest['factor']:.3g}" if largest["factor"] else "given up, the forecast goes on as it is"
        words.append(f"increment too large ({sizes}): {done}")
    for name, of in gates.get("bounds", {}).items():
        if of["below"] or of["above"]:
            moved = f"{of['mass_moved']:.3g} of mass {of['mass']:.3g} moved"
            if not of["mass_kept"]:
                moved = f"no field within them has the mass {of['mass']:.3g}, cut off: {of['mass_moved']:.3g} added"
            words.append(f"{name}: {of['below']} values below bounds, {of['above']} above; {moved}")
    return "; ".join(words)
