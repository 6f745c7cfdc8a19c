"""A source setting for cameras of which a person knows the field of view and nothing else.

The pixels are square and the principal point is the middle. What was supplied stands in `EpisodeInfo.assumed`.
"""

from __future__ import annotations

from .corrected import corrected
from .episode import Episode
from .source_settings import SourceSetting, ViewSetting


def with_field_of_view(episode: Episode, degrees: float) -> Episode:
    """The episode with intrinsics for every camera that has none; itself where nothing is missing.

    Raises:
        ConfigError: No angle of a pinhole camera.
    """
    return corrected(episode, field_of_view_setting(episode, degrees))


def field_of_view_setting(episode: Episode, degrees: float) -> SourceSetting:
    """What `with_field_of_view` changes; an empty setting where no intrinsics are missing.

    Args:
        episode: As it is shown.
        degrees: Horizontal field of view of the cameras without intrinsics.

    Raises:
        ConfigError: No angle of a pinhole camera.
    """
    given = ViewSetting(fov_degrees=degrees)
    lacking = {view: given for view in episode.info.views if not episode.has("K", view)}
    return SourceSetting(static=lacking.get("static", ViewSetting()), wrist=lacking.get("wrist", ViewSetting()))
