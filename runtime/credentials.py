"""URLs and texts without the passwords, tokens and signatures that a URL may carry."""

import re

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(:/{1,3})([^/?#]*)([^?#]*)")
_CONTAINERS = {"abfs", "abfss", "wasb", "wasbs"}
"""Schemes whose URLs name a container before the @: no password."""
_USER = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]+:/{1,3})([^/?#\s\"'<>]*)@")
_SECRET = re.compile(
    r"([?&;#][\w.-]*(?:sig|signature|token|secret|password|passwd|pwd|credential|key|auth)[\w.-]*=)"
    r"[^&;#\s\"'<>]+",
    re.IGNORECASE,
)


def without_credentials(url: str) -> str:
    """The part of a URL that may be written down: scheme, host and path."""
    match = _URL.match(url)
    if match is None:
        return url
    scheme, slashes, host, path = match.groups()
    user, at, name = host.rpartition("@")
    if at and scheme.lower() in _CONTAINERS and ":" not in user:
        name = host
    return f"{scheme}{slashes}{name}{path}"


def redacted(text: str) -> str:
    """A message without credentials of URLs in it, also of those that another library wrote."""
    if ":/" not in text:
        return text
    return _SECRET.sub(r"\1***", _USER.sub(_without_user, text))


def _without_user(match: re.Match[str]) -> str:
    begin, user = match.groups()
    if begin.partition(":")[0].lower() in _CONTAINERS and ":" not in user:
        return match[0]
    return f"{begin}***@"
