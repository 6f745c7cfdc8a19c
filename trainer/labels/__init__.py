"""Labels for episodes that come without them: pseudo-depth and tracks, always marked as such."""
