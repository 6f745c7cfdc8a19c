"""Images and videos from files nobody vouches for: bounded before anything is decoded, videos in a child process."""
