"""What turns query outputs into depth, future images, 3D flow and actions."""
