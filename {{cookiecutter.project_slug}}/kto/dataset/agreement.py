"""Agreement beyond chance: Krippendorff's α for nominal values, any number of votes per answer.

K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, section D: α = 1 − D_o / D_e over the coincidences
of pairable values.
"""

from collections import Counter
from collections.abc import Hashable, Iterable


def krippendorff_alpha(units: Iterable[Iterable[Hashable]]) -> float | None:
    """Return α for nominal values: 1 is full agreement, 0 what chance gives, below 0 is systematic disagreement.

    `units` has for each answer the values that people gave it; with fewer than two it does not count. The result is
    None if α is undefined: no answer counts, or all values are the same.
    """
    counts = [Counter(unit) for unit in units]
    counts = [count for count in counts if count.total() >= 2]
    totals: Counter[Hashable] = sum(counts, Counter())
    n = totals.total()
    expected = n * n - sum(c * c for c in totals.values())  # pairs of different values, ignoring units
    if not expected:
        return None
    observed = sum((m * m - sum(c * c for c in count.values())) / (m - 1) for count in counts for m in [count.total()])
    return 1 - (n - 1) * observed / expected
