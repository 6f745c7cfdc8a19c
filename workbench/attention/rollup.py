"""Roll-ups that conserve weight: from attention on tokens to flow points and to pixels. numpy only.

A roll-up multiplies two attention maps along a path of the network. Weight is conserved by one rule everywhere: what
lies on token j is shared out over the sources p of that token in proportion to C[p -> j],

    w(p) = sum_j A[act -> j] * C[p -> j] / sum_p' C[p' -> j],

so that the weights of all p add up to the mass on the tokens j. A is any weight on tokens (attention, a rollout, an
attribution, which may be negative), C the mean over the layers and heads of the decoder or resampler on the path.

Dimensions: j token, p point, c patch, h w pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

FLOW_PATH = "action -> FLOW tokens (mean over trunk layers and heads) x flow points -> FLOW tokens (flow decoder)"
RESAMPLER_PATH = "action -> image latents (mean over trunk layers and heads) x latents -> image patches (resampler)"


def share_out(mass: Float[np.ndarray, " j"], given: Float[np.ndarray, "p j"]) -> Float[np.ndarray, " p"]:
    """The rule above. A token that no source gives anything to is shared out evenly, so that no weight is lost.

    Args:
        mass: A[act -> j].
        given: C[p -> j], not negative.
    """
    total = given.sum(axis=0)
    share = np.where(total > 0, given / np.where(total > 0, total, 1.0), 1.0 / len(given))
    return share @ mass


def points_on_pixels(
    mass: Float[np.ndarray, " j"],
    given: Float[np.ndarray, "p j"],
    uv: Float[np.ndarray, "p 2"],
    size: tuple[int, int],
) -> Float[np.ndarray, "h w"]:
    """The mass on the FLOW tokens over the pixels of an image: every pixel has the attention of its nearest point.

    Sharing out over pixels rather than over points keeps a region from looking important just because many points were
    placed there. The result adds up to the sum of `mass`.

    Args:
        mass: A[act -> j].
        given: C[p -> j] of the points.
        uv: Their places in continuous pixels of the image.
        size: (height, width).
    """
    nearest = nearest_point(uv, size)
    return share_out(mass, given[nearest.ravel()]).reshape(size)


def nearest_point(uv: Float[np.ndarray, "p 2"], size: tuple[int, int]) -> Integer[np.ndarray, "h w"]:
    """Index of the point nearest to each pixel's centre (up to the half pixel that points are rounded to)."""
    import cv2  # a fifth of a second that only the first roll-up pays

    height, width = size
    pixels = np.clip(uv.astype(np.intp), 0, (width - 1, height - 1))
    rows, columns = pixels[:, 1], pixels[:, 0]
    free = np.ones(size, np.uint8)
    free[rows, columns] = 0
    _, found = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(found, np.intp)
    point_of_label = np.zeros(int(labels.max()) + 1, np.intp)
    point_of_label[labels[rows, columns]] = np.arange(len(uv))
    return point_of_label[labels]


def latents_on_pixels(
    mass: Float[np.ndarray, " j"], patches: Float[np.ndarray, "j c"], size: tuple[int, int]
) -> Float[np.ndarray, "h w"]:
    """The mass on a view's latents over its pixels: latents -> patches by the rule, a patch's weight evenly inside it.

    What a latent takes from the other latents is left out of C, so the result adds up to the sum of `mass`.

    Args:
        mass: A[act -> latent].
        patches: C[latent -> patch] over a square raster of patches in reading order.
        size: (height, width), a multiple of the raster.
    """
    return patches_on_pixels(share_out(mass, patches.T / np.maximum(patches.sum(axis=1), 1e-12)), size)


def patches_on_pixels(weight: Float[np.ndarray, " c"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """The weight of each patch of a square raster in reading order, evenly over its pixels.

    Args:
        weight: Of each patch.
        size: (height, width), a multiple of the raster.
    """
    side = round(len(weight) ** 0.5)
    height, width = size[0] // side, size[1] // side
    return np.kron(weight.reshape(side, side), np.full((height, width), 1.0 / (height * width)))
