"""What a clip's tokens are made from: digests of files, and whether they are still the same."""
