"""Asks the processes whether they are ready."""

import json
import urllib.error
import urllib.request

_TIMEOUT_S = 2.0
# Never through a proxy: it is this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Readiness:
    """Whether all of the addresses answer that they are ready."""

    def __init__(self, *urls: str) -> None:
        self._urls = urls

    def missing(self) -> str | None:
        """Return what is still waited for, in a few words; None where all are ready."""
        for url in self._urls:
            reason = _reason(url)
            if reason is not None:
                return reason
        return None


def _reason(url: str) -> str | None:
    try:
        with _OPENER.open(url, timeout=_TIMEOUT_S) as answer:
            return None if answer.status == 200 else f"{url} answers {answer.status}"  # noqa: PLR2004 - HTTP's OK
    except urllib.error.HTTPError as error:
        return _checks(error.read()) or f"{url} answers {error.code}"
    except OSError:
        return f"{url} to answer"


def _checks(body: bytes) -> str | None:
    """Return the checks of a `/readyz` that are not fine, as it tells them."""
    try:
        checks = json.loads(body)["checks"]
        wrong = {
            name: told
            for name, told in checks.items()
            if told != "ok" and not (isinstance(told, dict) and told.get("ok"))
        }
    except (ValueError, LookupError, AttributeError, TypeError):
        return None
    return "; ".join(f"{name}: {told}" for name, told in wrong.items()) or None
