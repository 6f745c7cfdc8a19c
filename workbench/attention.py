"""Where the action query looks: mass by token group, and roll-ups to flow points and to pixels that conserve weight.

A roll-up multiplies two attention maps along a path of the network. Weight is conserved by one rule everywhere: what
the action puts on token j is shared out over the sources p of that token in proportion to C[p -> j],

    w(p) = sum_j A[act -> j] * C[p -> j] / sum_p' C[p' -> j],

so that the weights of all p add up to the mass on the tokens j. Dimensions: j token, p point, h w pixels, r latent.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def share_out(mass: Float[np.ndarray, " j"], given: Float[np.ndarray, "p j"]) -> Float[np.ndarray, " p"]:
    """The rule above. A token that no source gives anything to is shared out evenly, so that no weight is lost."""
    total = given.sum(axis=0)
    share = np.where(total > 0, given / np.where(total > 0, total, 1.0), 1.0 / len(given))
    return share @ mass
