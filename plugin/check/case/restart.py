"""A restart of the case's start, written and read back on a scratch copy."""

from collections.abc import Iterator

import numpy as np

from plugin.check.case.files import ALONE, CaseFiles
from plugin.check.finding import FAIL, OK, WARN, Finding

_NAME = "restart round trip"


def round_trip(files: CaseFiles) -> Iterator[Finding]:
    """Findings about writing the analysed fields into a restart: they must come back bit for bit."""
    restart, simulation = files.restart, files.simulation
    names = {
        name for name in restart.fields if any(v == name or v.startswith(f"{name}.") for v in files.case.variables)
    }
    if not names:
        text = f"{restart.path.name} is a cold start, whose fields are in no file yet"
        yield Finding(OK, _NAME, f"{text}; the first restart comes at the end of the first window")
        return
    state = simulation.read_fields(restart, ALONE, sorted(names))
    bad = [name for name, field in state.fields.items() if not np.isfinite(field.values).all()]
    if bad:
        yield Finding(FAIL, _NAME, f"{bad[0]} at the start has values that are not finite", "take another checkpoint")
        return
    # changed fields are written anew, everything else is copied
    written = simulation.write_restart(restart, files.scratch / "restart", ALONE, state.fields)
    back, before = (simulation.read_fields(one, ALONE) for one in (written, restart))
    for name, field in before.fields.items():
        same = back[name].mesh.fingerprint == field.mesh.fingerprint and np.array_equal(back[name].values, field.values)
        if not same:
            yield Finding(FAIL, _NAME, f"{name} does not come back as it was", f"report it with {restart.path}")
            return
    text = f"{', '.join(sorted(names))} written, {len(before.fields)} fields read back to the last bit"
    if copied := sorted(set(restart.fields) - set(before.fields)):
        text += f", {', '.join(copied)} only copied: on cells that cannot be analysed"
    if written.time != restart.time:
        yield Finding(WARN, _NAME, f"{text}; the time is {written.time!r} instead of {restart.time!r}")
    else:
        yield Finding(OK, _NAME, text)
