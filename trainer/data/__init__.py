"""From episodes to batches: windows, points, normalisation, augmentation."""
