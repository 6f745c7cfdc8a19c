"""The errors a user can cause. Importing this module imports nothing heavy.

Every message says what is wrong, where (file and field), and what to do about it. The command line prints it and
exits with 2; the page shows it without a traceback.
"""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of all errors that are the input's fault and not ours."""


class EpisodeError(WorkbenchError):
    """An episode cannot be read, or lacks something that was asked of it."""


class AbsentError(EpisodeError, AttributeError):
    """The source of an episode does not have what was asked for; so `hasattr` answers instead of raising."""


class UnsafeFileError(WorkbenchError):
    """A file would run code, read outside its root, or exhaust memory."""


class CheckpointError(WorkbenchError):
    """A checkpoint is missing, truncated, foreign, or does not fit its configuration."""


class ConfigError(WorkbenchError, ValueError):
    """A configuration value is out of range or contradicts another one."""


class TrainingError(WorkbenchError):
    """Training cannot go on: its losses or gradients stopped being numbers."""


class CaptureError(WorkbenchError):
    """Captured attention is not what the forward pass computed with: it must not be shown."""
