"""Packages with the versions that are installed here, and pydantic's core, as pip wants them."""

import sys
from importlib.metadata import version

for name in (*sys.argv[1:], "pydantic-core"):
    # Its second generation needs an HTTP client that a machine with the first does not have.
    print("huggingface-hub>=1.31,<2" if name == "huggingface-hub" else f"{name}=={version(name)}")
