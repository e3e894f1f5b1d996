"""What is tried: for each key of the case file a row of values, and how a setting gets one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plugin.tune.setting import Setting

# parts of the variance; the last stands for all modes
_TRUNCATIONS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999)
_OF_BLOCKS = (0.8, 0.9, 0.95, 0.98, 0.99)
_LEADING = (0, 2, 5, 10, 20)
_ACROSS, _ALONG = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24), (0.5, 1, 2, 4, 8)  # parts of the domain's extent
_SIDES, _HEIGHTS = (2, 3, 4, 6, 8), (1, 2, 4)
_FORMS = (None, "sqrt")
_RELATIVE = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
SIZES = tuple(float(f"{2.0 ** (k / 2):.2g}") for k in range(-12, 13))  # 0.016 … 64, of R's factor or of inflation


@dataclass(frozen=True)
class Coordinate:
    """A key that is varied.

    key : as in a case file
    values : that are tried
    current : a setting → its value
    changed : (setting, value) → the setting with that value; None where the key has no meaning
    """

    key: str
    values: tuple[Any, ...]
    current: Callable[[Setting], Any]
    changed: Callable[[Setting, Any], Setting | None]


@dataclass(frozen=True)
class Domain:
    """What lengths are measured by.

    extent : (across, along) the vertical, size of the box of all points [m]
    spacing : (across, along) distance of points [m]; shorter lengths than two of them are not tried
    modes : modes that every fold has
    fields : of the readings, in the order of the case file
    positive : those of them that are scalars and never below zero in the states
    """

    extent: tuple[float, float]
    spacing: tuple[float, float]
    modes: int
    fields: tuple[str, ...]
    positive: tuple[str, ...] = ()

    def lengths(self, direction: int, parts: Sequence[float]) -> tuple[float, ...]:
        """Parts of the extent across (0) or along (1) the vertical, rounded, the longest first."""
        lengths = (float(f"{self.extent[direction] / part:.2g}") for part in parts)
        return tuple(dict.fromkeys(length for length in lengths if length >= 2.0 * self.spacing[direction]))


def coordinates(transform: str, domain: Domain, given: Mapping[str, Sequence[Any]]) -> list[tuple[Coordinate, ...]]:
    """The keys that are varied for a transform; those of a group together, with all pairs of their values.

    A length that harms alone may help where leading modes are left as they are: each second length is tried with each
    number of them, and then the lengths between.

    given : {key: values} in place of our own; other keys do not matter
    """
    radii = (None, *domain.lengths(0, _ACROSS)), (None, *domain.lengths(1, _ALONG))
    groups: list[tuple[Coordinate, ...]]
    if transform == "local":
        groups = [
            (_block_side("across", domain.lengths(0, _SIDES), 0),),
            (_block_side("along", domain.lengths(1, _HEIGHTS), 1),),
            (_plain("truncation", _OF_BLOCKS),),
            (_within("local", "horizontal", radii[0]),),
            (_within("local", "vertical", radii[1]),),
        ]
    elif transform == "tsvd":
        leading = tuple(k for k in _LEADING if k < domain.modes)
        groups = [
            (_radius(radii[0][:1] + radii[0][1::2]), _within("localisation", "modes", leading)),
            (_radius(radii[0]),),
            (_within("localisation", "vertical", radii[1]),),
            (_plain("truncation", _TRUNCATIONS),),
        ]
    else:
        groups = [(_radius(radii[0]),), (_within("localisation", "vertical", radii[1]),)]
    groups += [(_of_field(name),) for name in domain.fields[1:]]
    groups += [(_anamorphosis(name),) for name in domain.positive]
    return [tuple(replace(one, values=tuple(given.get(one.key, one.values))) for one in group) for group in groups]


def start(setting: Setting, transform: str, domain: Domain) -> Setting:
    """Where the search begins: the case's keys as far as they go with a transform, and all its modes."""
    changes: dict[str, Any] = {"transform": transform}
    if transform == "local":
        sides = domain.lengths(0, (4,)) or (domain.extent[0],), domain.lengths(1, (1,)) or (domain.extent[1],)
        own = setting.background.local
        blocks = {"size": (sides[0][0], sides[0][0], sides[1][0])} if own is None else own.model_dump()
        # a taper of points on top of that of blocks is not varied
        changes |= {"local": blocks, "truncation": 0.95, "localisation": None}
    else:
        changes |= {"local": None, "truncation": _TRUNCATIONS[-1] if transform == "tsvd" else None}
        if transform == "reduced" and setting.background.localisation is not None:
            changes["localisation"] = {**setting.background.localisation.model_dump(), "modes": 0}
    return replace(setting.with_background(**changes), factor=dict.fromkeys(setting.factor, 1.0))


def _plain(name: str, values: tuple[Any, ...]) -> Coordinate:
    return Coordinate(
        f"background.{name}",
        values,
        lambda setting: getattr(setting.background, name),
        lambda setting, value: setting.with_background(**{name: value}),
    )


def _within(section: str, name: str, values: tuple[Any, ...]) -> Coordinate:
    """A key of a section of `background`, without meaning where the section is left out."""

    def current(setting: Setting) -> Any:
        of = getattr(setting.background, section)
        return None if of is None else getattr(of, name)

    def changed(setting: Setting, value: Any) -> Setting | None:
        of = getattr(setting.background, section)
        return of and setting.with_background(**{section: {**of.model_dump(), name: value}})

    return Coordinate(f"background.{section}.{name}", values, current, changed)


def _radius(values: tuple[Any, ...]) -> Coordinate:
    """Without a length across the vertical there is no localisation."""
    within = _within("localisation", "horizontal", values)

    def changed(setting: Setting, value: Any) -> Setting:
        of = setting.background.localisation
        if value is None:
            return setting.with_background(localisation=None)
        return setting.with_background(localisation={**(of.model_dump() if of else {}), "horizontal": value})

    return replace(within, changed=changed)


def _block_side(name: str, values: tuple[float, ...], direction: int) -> Coordinate:
    """Two sides of a block across the vertical, or the one along it."""

    def sides(setting: Setting) -> tuple[Any, Any]:
        size = None if setting.background.local is None else setting.background.local.size
        if size is None:
            return None, None
        across, _, along = np.broadcast_to(size, 3).tolist()
        return across, along

    def changed(setting: Setting, value: Any) -> Setting | None:
        of, both = setting.background.local, list(sides(setting))
        if of is None or both[0] is None:
            return None  # blocks given by points stay as they are
        both[direction] = value
        return setting.with_background(local={**of.model_dump(), "size": (both[0], both[0], both[1])})

    return Coordinate(f"background.local.size, {name}", values, lambda setting: sides(setting)[direction], changed)


def _anamorphosis(name: str) -> Coordinate:
    """In what a field is analysed; other keys of its section stay, if it has one."""

    def current(setting: Setting) -> Any:
        of = setting.background.variables.get(name)
        return None if of is None else of.anamorphosis

    def changed(setting: Setting, value: Any) -> Setting:
        sections = {key: of.model_dump() for key, of in setting.background.variables.items()}
        own = sections.pop(name, {})
        if value is not None:
            sections[name] = {**own, "anamorphosis": value}
        return setting.with_background(variables=sections)

    return Coordinate(f"background.variables.{name}.anamorphosis", _FORMS, current, changed)


def _of_field(name: str) -> Coordinate:
    """The factor of one field's readings, relative to those of the first field."""

    def current(setting: Setting) -> float:
        return setting.factor[name] / next(iter(setting.factor.values()))

    def changed(setting: Setting, value: float) -> Setting:
        return replace(setting, factor={**setting.factor, name: value * next(iter(setting.factor.values()))})

    return Coordinate(f"observations.error_model.factor, {name}", _RELATIVE, current, changed)
