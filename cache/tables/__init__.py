"""The tables beside the parts, and how many writers change them without losing an edit."""
