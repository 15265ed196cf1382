"""What needs both stages: trained probes on new videos, pictures of stored clips.

Only the door imports this room; it may import `extract`, `cache` and `probe`.
"""
