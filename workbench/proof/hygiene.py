"""What stands in padded frames must not poison the rest: a token of weight zero times NaN is NaN."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.batch import Observation
from model.encoders.image_features import ImageFeatures
from model.policy import Policy

from .report import Audit, Verdict

_NAME = "NaN hygiene"


@torch.no_grad()
def audit_nan(policy: Policy) -> Audit:
    """NaN as the state of a padded frame, through embedding and trunk: the real frames' outputs stay numbers."""
    layout = policy.layout
    if layout.n_frames < 2:
        return Audit(name=_NAME, verdict=Verdict.OK, detail="a window of one frame has no padding")
    observation = _observation(policy)
    with _blank_images(policy):
        tokens = policy.embedding(observation).tokens
    out, _ = policy.contextualise(tokens, observation.frame_mask, observation.view_mask)
    real = layout.frames.to(out.device) < layout.n_frames - 1
    spoilt = (~out[0].isfinite().all(-1) & real).nonzero()[:, 0].tolist()
    if not spoilt:
        detail = f"NaN in the padded frame's state leaves all {int(real.sum())} real outputs finite"
        return Audit(name=_NAME, verdict=Verdict.OK, detail=detail)
    names = [f"{layout.tokens[position].name}@{int(layout.frames[position])}" for position in spoilt]
    detail = f"NaN in the padded frame's state makes {len(spoilt)} real outputs NaN"
    return Audit(name=_NAME, verdict=Verdict.LEAK, detail=detail, places=tuple(dict.fromkeys(names))[:8])


def _observation(policy: Policy) -> Observation:
    """Black images, a state that is NaN in the last frame, which is padding."""
    config, device = policy.config, policy.mask.device
    t, v, size = config.window.n_obs_steps, len(config.views), config.image_size
    state = torch.zeros(1, t, 6)
    state[:, -1] = torch.nan
    frame_mask = torch.ones(1, t, dtype=torch.bool)
    frame_mask[:, -1] = False
    goal = torch.zeros(1, 3, size, size, dtype=torch.uint8) if config.goal_image else None
    return Observation(
        rgb=torch.zeros(1, t, v, 3, size, size, dtype=torch.uint8),
        view_mask=torch.ones(1, v, dtype=torch.bool),
        text=policy.tokenize(["nothing"]).cpu(),
        state_arm=state,
        state_gripper=torch.zeros(1, t, dtype=torch.int64),
        frame_mask=frame_mask,
        goal_rgb=goal,
    ).to(device)


@contextmanager
def _blank_images(policy: Policy) -> Generator[None, None, None]:
    """Encoding a window of images is most of a policy's cost and none of this question."""
    encoder, embedding = policy.embedding.image, policy.embedding
    try:
        image = policy.config.image
        embedding.add_module("image", _Blank(image.width, policy.config.image_size // image.patch_size))
        yield
    finally:
        embedding.add_module("image", encoder)


class _Blank(nn.Module):
    """Features of nothing."""

    def __init__(self, width: int, side: int):
        super().__init__()
        self.width, self.side = width, side

    def forward(self, rgb: Float[Tensor, "i 3 h w"]) -> ImageFeatures:
        patches = rgb.new_zeros(len(rgb), self.side**2, self.width)
        return ImageFeatures(cls=patches[:, 0], patches=patches, maps=())
