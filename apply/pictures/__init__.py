"""Pictures of stored clips: their frames, their tokens."""
