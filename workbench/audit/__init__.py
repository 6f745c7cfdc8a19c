"""The doctor: what is wrong with an episode, measured from its own images, depth, cameras, state and actions."""

from .examine import AuditCancelledError, audit
from .finding import Audit, Checked, Finding, Kind, Unchecked

__all__ = ["Audit", "AuditCancelledError", "Checked", "Finding", "Kind", "Unchecked", "audit"]
