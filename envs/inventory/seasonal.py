"""Generated weekly retail demand, the stand-in where no recorded data may be shipped.

It imitates marginal statistics of recorded weekly sales. It is no recording, and a result on it is
not a result on one. Real: the Favorita file that `recorded` knows (288 products, 21 stores, 171
weeks; units). Generated: the same size, seed 0. Three numbers are the 10, 50 and 90% points over
series, or the quartiles where marked (q):

                                            real                    generated
  mean of all weeks                         84.6                    82.6
  mean of a series                          13.1, 45.5, 183.8       13.5, 50.2, 183.6
  coefficient of variation                  0.26, 0.41, 0.67        0.32, 0.43, 0.62
  weekly change / mean                      0.19, 0.30, 0.48        0.24, 0.30, 0.43
  largest week / mean, median               2.55                    2.66
  share of weeks without sales              0.011                   0.011
  autocorrelation, 1 week (q)               0.32, 0.47, 0.60        0.35, 0.49, 0.59
  autocorrelation, 8 weeks (q)              0.06, 0.16, 0.31        0.05, 0.13, 0.24
  autocorrelation, 52 weeks (q)             -0.01, 0.12, 0.28       -0.01, 0.09, 0.22
  correlation of a product's stores (q)     0.11, 0.26, 0.43        0.19, 0.30, 0.42
  log growth over two years                 -0.44, -0.01, 0.44      -0.37, 0.01, 0.38
  last full week to Christmas / mean        1.27                    1.24

What it lacks: returns (the real file has 10 negative weeks), holidays other than Christmas,
products that are substitutes, and the 2016 earthquake.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pgbench.errors import PgbenchError

from .recorded import days_from_christmas

# Levels: log-normal, as turnover of products and stores is; every product sells best somewhere.
LEVEL = 3.76  # log of the median product's units a week in the median store
LEVEL_SD = (0.72, 0.52, 0.55)  # of the log: products, stores, a product in a store
# What lasts for years: assortments, prices and tastes drift (random walk of the log, a week).
TREND_SD = 0.026
# What lasts for weeks, AR(1) of the log: (weekly memory, sd), of a product everywhere (its price,
# its season) and of a product in one store (shelf space, neighbours).
SHARED = (0.85, 0.17)
LOCAL = (0.75, 0.19)
# Some products are steady, others are not: sd of the log of a series' factor on all that follows.
UNEVEN = 0.32
# The year: a product's own wave (scale of its log amplitude), and Christmas, which is felt in the
# last full week before it and half as much in the weeks beside (mean and sd of the log lift).
WAVE = 0.16
CHRISTMAS = (0.26, 0.30)
# Pay day: the week in which a month ends sells more.
PAYDAY = 0.18
# Promotions: share of weeks, mean log lift (exponential), share of stores that take part.
PROMOTION = (0.03, 0.45, 0.5)
# Counts scatter more than Poisson's: variance = mean + DISPERSION * mean^2.
DISPERSION = 0.015
# Out of stock, delisted or not yet sold: share of weeks in which an absence starts, mean length.
ABSENCE = (0.004, 2.5)
DAYS_A_YEAR, DAYS_A_MONTH = 365.25, 30.4375


def generate(samples: int, stores: int, weeks: int, seed: int) -> Tensor:
    """Units sold (samples, stores, weeks), float32, whole numbers >= 0; week 0 starts a year.

    The same arguments give the same demand; a longer horizon is another draw.

    Raises: PgbenchError for a size below 1.
    """
    for name, size in (("samples", samples), ("stores", stores), ("weeks", weeks)):
        if size < 1:
            raise PgbenchError(f"{name} is {size}; seasonal demand needs at least 1")
    rng = np.random.Generator(np.random.PCG64(seed))

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    store = draw(1, stores, 1)
    log = LEVEL + LEVEL_SD[0] * draw(samples, 1, 1) + LEVEL_SD[1] * (store - store.mean())
    log = log + LEVEL_SD[2] * draw(samples, stores, 1)
    log = log + TREND_SD * _walk(draw(samples, stores, weeks))
    uneven = np.exp(UNEVEN * draw(samples, stores, 1))
    lasting = _autoregressive(draw(samples, 1, weeks), *SHARED)
    lasting = lasting + _autoregressive(draw(samples, stores, weeks), *LOCAL)
    log += uneven * (lasting + _promotions(rng, samples, stores, weeks))
    log += _year(rng, samples, weeks)
    mean = np.exp(log, dtype=np.float64) * _present(rng, samples, stores, weeks)
    # A Poisson count whose rate is gamma distributed is a negative binomial one.
    rate = mean * rng.standard_gamma(1 / DISPERSION, mean.shape) * DISPERSION
    return torch.from_numpy(rng.poisson(rate).astype(np.float32))


def _walk(noise: np.ndarray) -> np.ndarray:
    """Random walks of unit steps that are 0 on average."""
    path: np.ndarray = noise.cumsum(-1)
    path -= path.mean(-1, keepdims=True)
    return path


def _autoregressive(noise: np.ndarray, memory: float, sd: float) -> np.ndarray:
    """Stationary x_t = memory x_{t-1} + e_t of standard deviation `sd`, in place of its noise."""
    scale = np.float32(np.sqrt(1 - memory**2))
    for t in range(1, noise.shape[-1]):
        noise[..., t] = memory * noise[..., t - 1] + scale * noise[..., t]
    noise *= np.float32(sd)
    return noise


def _year(rng: np.random.Generator, samples: int, weeks: int) -> np.ndarray:
    """Log seasonality (samples, 1, weeks): a wave, Christmas, pay days."""
    day = 7 * np.arange(weeks)
    size = WAVE * np.abs(rng.standard_normal((samples, 1, 1)))
    wave = size * np.cos(2 * np.pi * (day / DAYS_A_YEAR - rng.uniform(0, 1, (samples, 1, 1))))
    lift = CHRISTMAS[0] + CHRISTMAS[1] * rng.standard_normal((samples, 1, 1))
    away = np.round((days_from_christmas(weeks).numpy() + 8) / 7)  # 0 in the last full week
    near = np.select([away == 0, np.abs(away) == 1], [1.0, 0.5], 0.0)
    payday = day % DAYS_A_MONTH >= DAYS_A_MONTH - 7
    total: np.ndarray = wave + lift * near + PAYDAY * payday
    return total.astype(np.float32)


def _promotions(rng: np.random.Generator, samples: int, stores: int, weeks: int) -> np.ndarray:
    """Log lift (samples, stores, weeks): a product's promotion runs in many stores at once."""
    share, lift, part = PROMOTION
    planned = rng.random((samples, 1, weeks), dtype=np.float32) < share
    size = rng.exponential(lift, (samples, 1, weeks))
    takes = rng.random((samples, stores, weeks), dtype=np.float32) < part
    return (planned * size * takes).astype(np.float32)


def _present(rng: np.random.Generator, samples: int, stores: int, weeks: int) -> np.ndarray:
    """1 where a product is on sale, 0 in an absence: (samples, stores, weeks)."""
    start, length = ABSENCE
    begins = rng.random((samples, stores, weeks), dtype=np.float32) < start
    ends = rng.random((samples, stores, weeks), dtype=np.float32) < 1 / length
    away = np.zeros((samples, stores, weeks), bool)
    state = np.zeros((samples, stores), bool)
    for t in range(weeks):
        state = (state & ~ends[..., t]) | begins[..., t]
        away[..., t] = state
    return ~away
