"""What turns images, words and proprioception into tokens."""
