"""Which labels of a store an episode can use, and what is said about them and about what is still absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import WorkbenchError
from trainer.episodes.corrected import CorrectedLazyEpisode, CorrectedStreamEpisode
from trainer.episodes.episode import Episode, View

from .labeller import LabelKind
from .store import LabelStore

DEPTH_MODELS = "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"
"""An example of what `--model` takes: metric, so that no anchors are needed."""


@dataclass(frozen=True, kw_only=True)
class FoundLabels:
    """The labels that are laid over an episode.

    Attributes:
        depth: Key of the metric pseudo-depth, by view.
        tracks: Key of the tracks, by view.
        notes: A sentence about each, and about what is absent without them.
    """

    depth: Mapping[View, str]
    tracks: Mapping[View, str]
    notes: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """No label is used, and there is nothing to say about one."""
        return not (self.depth or self.tracks or self.notes)


def find_labels(episode: Episode, root: Path) -> FoundLabels:
    """Chooses the newest usable label of each kind and view.

    Args:
        episode: What its source has is not labelled over.
        root: The store.
    """
    usable, outdated = _labelled(episode)
    found, notes = _newest(episode, root, "depth", usable)
    depth: dict[View, str] = {}
    for view, (key, facts) in found.items():
        if episode.info.depth_origin is not None:
            notes.append(f"the pseudo depth of {view} is not used: this episode has depth of its own")
        elif facts.get("scale") != "metric":
            notes.append(f"the pseudo depth of {view} is relative: without a scale it is not used. {_METRIC_REMEDY}")
        else:
            depth[view] = key
            notes.append(f"{view}: pseudo depth {_made_by(facts)}, {_scale_words(facts.get('scale_audit'))}")
    tracks: dict[View, str] = {}
    found, more = _newest(episode, root, "tracks", usable)
    for view, (key, facts) in found.items() if not episode.info.has_exact_flow else ():
        tracks[view] = key
        has_depth = view in depth or episode.has("depth", view)
        lifted = has_depth and episode.has("K", view)
        notes.append(f"{view}: {'3D' if lifted else '2D'} tracks {_made_by(facts)}, not exact" + _lift_words(lifted))
        if not has_depth:
            notes.append(_without_depth(episode, view, root))
        elif not lifted:
            notes.append(f"{view}: 3D tracks are absent: the intrinsics are not known; a field of view supplies them")
    if LabelStore(root, "depth").labels_of(*outdated) or LabelStore(root, "tracks").labels_of(*outdated):
        more.append("labels made before this source was corrected are not used: they are of other images; label again")
    return FoundLabels(depth=depth, tracks=tracks, notes=(*notes, *more))


def _labelled(episode: Episode) -> tuple[list[str], list[str]]:
    """Content hashes whose labels are right for an episode, its own first, and those whose labels no longer are.

    A recording's labels stay right while what is set for its source is nothing that a labeller looks at: a field of
    view that was missing, what the actions mean.
    """
    usable, outdated = [episode.content_hash], list[str]()
    while isinstance(episode, CorrectedLazyEpisode | CorrectedStreamEpisode):
        looked_at = outdated or any(_is_looked_at(episode, view) for view in episode.info.views)
        episode = episode.original
        (outdated if looked_at else usable).append(episode.content_hash)
    return usable, outdated


def _is_looked_at(episode: CorrectedLazyEpisode | CorrectedStreamEpisode, view: View) -> bool:
    """Whether a correction changes images, or the known camera that anchors of depth were made from."""
    setting = episode.setting.view(view)
    moved = setting.turn != "none" or setting.pose != "as-stored"
    return moved or setting.swap_red_blue or (setting.gives_camera and episode.original.has("K", view))


_METRIC_REMEDY = "Label depth again with --anchors, or with a metric --model"


def _newest(
    episode: Episode, root: Path, kind: LabelKind, content_hashes: Sequence[str]
) -> tuple[dict[View, tuple[str, Mapping[str, Any]]], list[str]]:
    """The newest label of each view whose images have the episode's size; and what is to be said of the others."""
    store = LabelStore(root, kind)
    by_view: dict[View, list[tuple[str, Mapping[str, Any]]]] = {}
    notes: list[str] = []
    for key in store.labels_of(*content_hashes):
        try:
            facts = store.facts(key)
        except WorkbenchError as error:
            notes.append(str(error).replace(f"{root}/", f"{root.name}/"))  # pages and reports show it to others
            continue
        for view in episode.info.views:
            if facts.get("view") == view and facts.get("size") == list(episode.image_size(view)):
                by_view.setdefault(view, []).append((key, facts))
    for view, labels in by_view.items():
        if len(labels) > 1:
            notes.append(f"{view}: the newest of {len(labels)} {kind} labels is used")
    return {view: labels[-1] for view, labels in by_view.items()}, notes


def _made_by(facts: Mapping[str, Any]) -> str:
    labeller = facts.get("labeller")
    labeller = labeller if isinstance(labeller, dict) else {}
    name = {"classical": "by the classical recipe", "plugin": "by a plug-in"}.get(str(labeller.get("name")))
    weights = labeller.get("model_sha256") or labeller.get("temporal_sha256") or labeller.get("plugin_sha256")
    return " ".join(filter(None, [name or "by a network", f"({str(weights)[:8]})" if weights else ""]))


def _scale_words(audit: Any) -> str:
    """The audit of the scale in words."""
    if not isinstance(audit, dict):
        return "its scale is the network's own word, not audited"
    return (
        f"one scale and shift from {audit.get('anchors_from')}: {_share(audit, 'inliers')} of {audit.get('anchors')} "
        f"anchors within 5 %, median error {_share(audit, 'median_error')}, drift {_share(audit, 'drift')}"
    )


def _share(audit: Mapping[str, Any], name: str) -> str:
    value = audit.get(name)
    return f"{100 * value:.3g} %" if isinstance(value, int | float) else "unknown"


def _lift_words(lifted: bool) -> str:
    return "; lifted by the depth of each later frame" if lifted else "; drawn over the image"


def _without_depth(episode: Episode, view: View, root: Path) -> str:
    return (
        f"{view}: depth and 3D tracks are absent: the source records none and {root.name} has no depth label of it. "
        f"`python -m trainer label depth {Path(episode.name).name} --view {view} --store {root.name} --model FOLDER` "
        f"supplies both; FOLDER holds a depth model saved by transformers, such as {DEPTH_MODELS}"
    )
