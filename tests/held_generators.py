"""Generators held by a test, so that only closing them can end what they own."""

from collections.abc import Generator
from typing import Any

import pytest


class Held(list[Generator[Any]]):
    """What functions have made since they were named."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch

    def of(self, owner: Any, name: str) -> None:
        """Hold every generator that `owner.name` makes from now on."""
        make = getattr(owner, name)

        def made(*words: Any, **how: Any) -> Generator[Any]:
            self.append(make(*words, **how))
            return self[-1]

        self._monkeypatch.setattr(owner, name, made)
