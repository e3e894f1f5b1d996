"""What readings say of the members' forecasts: columns of readings.csv beside those of one model."""

import numpy as np

from da.ensemble.verification import crps, with_reading_errors
from plugin.ensemble.readings import Compared, spread_of

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
COLUMNS = ("spread", "analysis_spread", "crps", "rank", *(f"q{round(100 * part):02d}" for part in QUANTILES))


def scores_of(compared: Compared, analyses: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """{column: (M,)} of readings and members, NaN where a sensor is outside the air.

    Parameters
    ----------
    compared : Compared, with the forecasts
    analyses : (M, N) of the members at the readings
    random : of the readings' errors, which members get before the reading is ranked among them

    Returns
    -------
    spread, analysis_spread : standard deviations with N − 1, in the readings' units
    crps : of the forecasts, fair (`da.ensemble.verification.crps`), in the readings' units
    rank : 0 … N, how many members with draws of the reading's error lie below the reading
    q05 … q95 : quantiles of the forecasts, in the readings' units
    """
    readings, values = compared.readings, compared.values
    columns = {"spread": spread_of(values), "analysis_spread": spread_of(analyses)}
    columns["crps"] = crps(values, readings.value)
    as_readings = with_reading_errors(values, readings.error, random)
    columns["rank"] = np.count_nonzero(as_readings < readings.value[:, None], axis=1).astype(np.float64)
    quantiles = np.quantile(values, QUANTILES, axis=1) if len(readings) else np.empty((len(QUANTILES), 0))
    columns |= dict(zip(COLUMNS[4:], quantiles, strict=True))
    return {name: np.where(compared.out, np.nan, of) for name, of in columns.items()}
