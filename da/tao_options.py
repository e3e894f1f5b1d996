"""Our defaults in PETSc's options database, for as long as a solver reads them and no longer.

The database belongs to the user: what stands there wins over a default, and what we add goes again.
"""

from contextlib import contextmanager

from petsc4py import PETSc


def quasi_newton_defaults(method, memory):
    """Options of TAO's L-BFGS methods that differ from TAO's own, {name without prefix: value}.

    TAO scales the first Hessian by a diagonal that it learns; on ill-conditioned quadratics, a cost's
    usual shape, that takes ten times the evaluations or ends in a line-search failure (PETSc 3.18).
    A scalar, yᵀs / yᵀy (Liu & Nocedal 1989), does not.
    """
    return {f"tao_{method}_mat_lmvm_scale_type": "scalar", f"tao_{method}_mat_lmvm_hist_size": memory}


@contextmanager
def default_options(prefix, defaults):
    """Put defaults under a prefix, where the user has set nothing, and take them away at the end.

    The matrix of TAO's `lmvm` does not learn its solver's prefix (PETSc 3.18 reads
    `-tao_lmvm_mat_…` whatever the prefix), so each value is put there without the prefix as well.

    Parameters
    ----------
    prefix : of the solver, ends in "_"
    defaults : {name without prefix: value}
    """
    database, replaced = PETSc.Options(), {}

    def put(name, value):
        replaced[name] = database.getString(name) if database.hasName(name) else None
        database.setValue(name, value)

    try:
        for name, value in defaults.items():
            if database.hasName(prefix + name):
                put(name, database.getString(prefix + name))
            else:
                chosen = database.getString(name) if database.hasName(name) else value
                put(prefix + name, chosen)
                put(name, chosen)
        yield
    finally:
        for name, value in replaced.items():
            if value is None:
                database.delValue(name)
            else:
                database.setValue(name, value)
