"""The doctor: what is wrong with an episode, measured from its own images, depth, cameras, state and actions."""
