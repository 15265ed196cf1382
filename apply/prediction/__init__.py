"""A trained probe on videos: files, windows of long ones, streams."""
