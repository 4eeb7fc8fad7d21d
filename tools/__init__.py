"""The small programs that build, check and publish the book."""
