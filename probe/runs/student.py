"""Student's t distribution with any positive number of degrees of freedom.

Source: Abramowitz & Stegun, 26.5.8 and 26.7.1: the tail is an incomplete beta function, computed as
a continued fraction (Lentz's method, as in Press et al., Numerical Recipes, 6.4).
"""

from math import exp, inf, lgamma, log, log1p, pi, sqrt

_STEPS = 1000
_ENOUGH = 1e-12
_TINY = 1e-300


def two_sided(t: float, df: float) -> float:
    """P(|T| >= |t|).

    Args:
        t: Statistic; may be infinite.
        df: Degrees of freedom, above 0.
    """
    if t == 0:
        return 1.0
    if abs(t) == inf:
        return 0.0
    return _incomplete_beta(df / 2, 0.5, df / (df + t * t))


def quantile(level: float, df: float) -> float:
    """The t with P(|T| <= t) = level, e.g. 1.96 for level 0.95 and many degrees of freedom."""
    low, high = 0.0, 1.0
    while two_sided(high, df) > 1 - level:
        low, high = high, 2 * high
    t = (low + high) / 2
    # Newton's method, which halves the interval instead wherever it would leave it.
    for _ in range(_STEPS):
        excess = two_sided(t, df) - (1 - level)
        low, high = (t, high) if excess > 0 else (low, t)
        following = t + excess / (2 * _density(t, df))
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - t) <= _ENOUGH * t:
            break
        t = following
    return following


def _density(t: float, df: float) -> float:
    scale = exp(lgamma((df + 1) / 2) - lgamma(df / 2)) / sqrt(df * pi)
    return scale * exp(-(df + 1) / 2 * log1p(t * t / df))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    scale = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    # The fraction converges fast on this side of the mean only.
    if x < (a + 1) / (a + b + 2):
        return scale * _fraction(a, b, x) / a
    return 1 - scale * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _ENOUGH:
            break
    return value


def _away(value: float) -> float:
    """Not zero, since it is divided by."""
    return value if abs(value) > _TINY else _TINY
