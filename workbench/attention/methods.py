"""The ways to say where the action looks: what each multiplies, what it needs, where it comes from. Words and choices.

A method gives every token of the window a weight; roll-ups (see `rollup`) then carry the weight of image latents to
patches and that of FLOW tokens to points. What lies on any other token (language, state, CLS) has no place in an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MethodName = Literal["raw", "rollout", "relevance", "tokens", "patches"]
TargetName = Literal["translation", "rotation", "gripper"]

SHARE = "share"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to weigh the tokens of the window.

    Attributes:
        title: For the list to choose from.
        what: What is multiplied, as a formula in words; the page shows it.
        source: Where it comes from, empty for plain attention.
        selects: A layer and a head can be chosen.
        queries: The query groups it can be asked about.
        targeted: It explains one component of the action (see `TARGETS`).
        slow: Seconds to a minute: computed on request only.
        signed: Weights may be negative: they lower the target.
    """

    title: str
    what: str
    source: str = ""
    selects: bool = False
    queries: tuple[str, ...] = ("ACT",)
    targeted: bool = False
    slow: bool = False
    signed: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """A component of the predicted chunk as one number. `unit` is that of the number."""

    title: str
    unit: str
    what: str


METHODS: dict[MethodName, Method] = {
    "raw": Method(
        title="raw attention",
        what="A = softmax(QKᵀ/√d) of the query, mean over the chosen trunk layers and heads. A shows one step of "
        "looking; what the tokens had gathered before is not followed.",
        selects=True,
        queries=("ACT", "FLOW"),
    ),
    "rollout": Method(
        title="attention rollout",
        what="R = Ã_L ⋯ Ã_1 with Ã = ½ A + ½ I, A the mean over heads: attention followed through all layers, the "
        "residual stream counted as half. Every row sums to 1.",
        source="Abnar & Zuidema 2020, arXiv 2005.00928, section 3",
        queries=("ACT", "FLOW"),
    ),
    "relevance": Method(
        title="gradient x attention",
        what="R ← R + mean over heads of (∂y/∂A ⊙ A)⁺ · R through all layers, from R = I; the row of the action query "
        "without itself, as shares. y is the chosen action component.",
        source="Chefer, Gur & Wolf 2021, arXiv 2103.15679, equations 5 and 6",
        targeted=True,
    ),
    "tokens": Method(
        title="integrated gradients, tokens",
        what="(x - x₀) · ∫ ∂y/∂x along the line from x₀ to x, x the assembled tokens, x₀ those of a window with grey "
        "images, no words and an arm at rest. Queries are equal in both and get 0.",
        source="Sundararajan, Taly & Yan 2017, arXiv 1703.01365; captum LayerIntegratedGradients",
        targeted=True,
        slow=True,
        signed=True,
    ),
    "patches": Method(
        title="integrated gradients, patches",
        what="(x - x₀) · ∫ ∂y/∂x along the line from x₀ to x, x the image encoder's patch and CLS features, x₀ those "
        "of a grey image; through resampler and trunk. Language and state keep their values.",
        source="Sundararajan, Taly & Yan 2017, arXiv 1703.01365; captum LayerIntegratedGradients",
        targeted=True,
        slow=True,
        signed=True,
    ),
}

TARGETS: dict[TargetName, Target] = {
    "translation": Target(
        title="translation",
        unit="mm",
        what="length of the chunk's summed translation, measured along its own direction",
    ),
    "rotation": Target(
        title="rotation",
        unit="°",
        what="length of the chunk's summed rotation vector, measured along its own direction",
    ),
    "gripper": Target(title="gripper", unit="logit", what="mean logit of open over the chunk"),
}
