"""A restart of the case's start, written and read back on a scratch copy."""

import numpy as np

from coupling.fluidity.checkpoint import read_fields, write_restart
from plugin.check.case.files import ALONE
from plugin.check.finding import FAIL, OK, WARN, Finding

_NAME = "restart round trip"


def round_trip(subject):
    """Findings about writing the analysed fields into a restart: they must come back to the last bit."""
    restart = subject.restart
    names = {
        name for name in restart.fields if any(v == name or v.startswith(f"{name}.") for v in subject.case.variables)
    }
    if not names:
        told = f"{restart.options.name} is a cold start, whose fields lie in no files yet"
        yield Finding(OK, _NAME, f"{told}; the first window's end is the first restart")
        return
    state = read_fields(restart, ALONE, sorted(names))
    bad = [name for name, of in state.fields.items() if not np.isfinite(of.values).all()]
    if bad:
        yield Finding(FAIL, _NAME, f"{bad[0]} of the start has values that are not finite", "take another checkpoint")
        return
    # what is changed is written anew, all else is copied
    written = write_restart(restart, subject.scratch / "restart", ALONE, state.fields)
    back = read_fields(written, ALONE, sorted(restart.fields))
    before = read_fields(restart, ALONE, sorted(restart.fields))
    for name, of in before.fields.items():
        same = back[name].mesh.fingerprint == of.mesh.fingerprint and np.array_equal(back[name].values, of.values)
        if not same:
            yield Finding(FAIL, _NAME, f"{name} does not come back as it was", f"report it with {restart.options}")
            return
    told = f"{', '.join(sorted(names))} written, {len(before.fields)} fields read back to the last bit"
    if written.time != restart.time:
        yield Finding(WARN, _NAME, f"{told}; the time is {written.time!r} in place of {restart.time!r}")
    else:
        yield Finding(OK, _NAME, told)
