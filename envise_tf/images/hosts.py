"""Whether a download can work at all, asked before a library tries again and again for minutes."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import requests

_SECONDS = 10


def require_a_host(urls: Iterable[str]) -> None:
    """Returns when a host of these addresses answers, or none of them is a web address.

    Raises:
        requests.RequestException: no host answers; at once where names are not resolved, else after 10 s a host.
    """
    hosts = {urlsplit(url).netloc: url for url in urls if url.startswith("http")}
    errors = []
    for url in hosts.values():
        try:
            requests.head(url, timeout=_SECONDS)
            return
        except requests.RequestException as error:
            errors.append(error)
    if errors:
        raise errors[0]
