"""Call the Hub: the token, patience with what passes, and plain words for what does not.

No exception of the Hub's library leaves this module: they hold the request, and the request holds the token.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from harmonygen.errors import HarmonygenError, StorageError, UsageError

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds; uploads wait inside the library before each of these
MAX_WAIT = 900.0  # longer is left to the user
_TIMEOUT = 300.0  # the library itself would wait for an answer without end
_RESUME = "rerun the same command to resume"
_SETTINGS = "https://huggingface.co/settings/tokens"
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_CONFLICT = {409, 412}
_SECRET = re.compile(r"hf_[A-Za-z0-9]{10,}")


@dataclass(frozen=True)
class Token:
    """An access token that does not show itself."""

    value: str = field(repr=False)

    def scrub(self, text: str) -> str:
        """Return the text without the token, and without anything that looks like one.

        >>> Token("secret-word").scrub("Bearer secret-word and hf_0123456789abc")
        'Bearer *** and ***'
        """
        return _SECRET.sub("***", text.replace(self.value, "***"))


def find_token(token_file: Path | None = None) -> Token | None:
    """Return the token of a file, else of ``HF_TOKEN`` or the login; None if there is none.

    Raises:
        UsageError: the file cannot be read or holds no token.
    """
    if token_file is None:
        from huggingface_hub import get_token

        found = get_token()
        return Token(found) if found else None
    try:
        text = token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--token-file '{token_file}' cannot be read ({told}): name a file with one token") from None
    if not text or len(text.split()) > 1:
        raise UsageError(f"--token-file '{token_file}' holds {len(text.split())} words: it must hold the token alone")
    return Token(text)


@dataclass(frozen=True)
class Trouble:
    """What an exception of the Hub's library says, in plain values: it holds on to no request."""

    status: int | None
    told: str
    passing: bool
    retry_after: float | None = None
    wrong_use: bool = False

    @property
    def conflict(self) -> bool:
        """Whether somebody else wrote meanwhile."""
        return self.status in _CONFLICT


def diagnose(error: BaseException, token: Token) -> Trouble:
    """Read an exception, and those it came from, into plain values without the token."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    chain = list(_chain(error))
    response = next((found for each in chain if (found := getattr(each, "response", None)) is not None), None)
    if response is not None:
        status, told = int(response.status_code), _server_message(chain)
        return Trouble(status, token.scrub(told), status in _PASSING, _retry_after(response.headers))
    if any(isinstance(each, OfflineModeIsEnabled) for each in chain):
        return Trouble(None, "HF_HUB_OFFLINE is set: unset it to publish", passing=False, wrong_use=True)
    told = token.scrub("; ".join(dict.fromkeys(_line(each) for each in chain)))
    network = any(type(each).__module__.startswith("httpx") or isinstance(each, ConnectionError) for each in chain)
    if network:
        return Trouble(None, f"the connection was lost ({told})", passing=True)
    wrong_use = isinstance(error, HFValidationError) or told.startswith("ValueError: Invalid metadata")
    return Trouble(None, told, passing=isinstance(error, RuntimeError), wrong_use=wrong_use)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")


def _server_message(chain: list[BaseException]) -> str:
    told = next((str(found) for each in chain if (found := getattr(each, "server_message", None))), "")
    return " ".join(told.split())[:300]


def _retry_after(headers: Any) -> float | None:
    """Return the seconds that an answer asks to wait: ``Retry-After`` (seconds or date), else a used-up rate limit."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    stated = (headers.get("Retry-After") or "").strip()
    if stated.isdigit():
        return float(stated)
    if stated:
        try:
            return max(0.0, parsedate_to_datetime(stated).timestamp() - time.time())
        except ValueError:
            return None
    limit = parse_ratelimit_headers(headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


@dataclass(frozen=True)
class Caller:
    """Calls functions of the Hub's library, again while the trouble passes.

    ``notify`` gets a line for each wait; ``sleep`` waits (``time.sleep`` if None).
    """

    token: Token
    repo: str
    notify: Callable[[str], None]
    sleep: Callable[[float], None] | None = None

    def __call__(self, doing: str, function: Callable[[], T]) -> T:
        """Return what ``function`` returns; it is called again after a wait, and once after a conflict.

        Raises:
            UsageError: the token, its rights, the repository or a file is wrong.
            StorageError: the Hub or the way to it is in trouble for longer than this waits.
        """
        waits = list(WAITS)
        conflicts = 0
        while isinstance(outcome := self._attempt(function), Trouble):
            conflicts += outcome.conflict
            again = outcome.passing or (outcome.conflict and conflicts == 1)
            pause = max(waits[0] if waits else 0.0, outcome.retry_after or 0.0)
            if not again or not waits or pause > MAX_WAIT:
                raise self._error(doing, outcome)
            waits.pop(0)
            self.notify(f"{doing}: {_cause(outcome)}; again in {pause:.0f} s, {len(waits)} more times at most")
            (self.sleep or time.sleep)(pause)
        return outcome[0]

    def _attempt(self, function: Callable[[], T]) -> tuple[T] | Trouble:
        """Return the function's result in a tuple, or the trouble; the exception ends here."""
        from huggingface_hub import get_session

        get_session().timeout = _TIMEOUT
        try:
            return (function(),)
        except HarmonygenError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.filename and error.strerror:
                return Trouble(None, f"cannot read '{error.filename}': {error.strerror}", passing=False)
            return diagnose(error, self.token)

    def _error(self, doing: str, trouble: Trouble) -> HarmonygenError:
        said = f"{doing}: {_cause(trouble)}"
        if trouble.wrong_use:
            return UsageError(said)
        if advice := self._advice(trouble.status):
            return UsageError(f"{said}: {advice}")
        if trouble.conflict:
            return StorageError(f"{said}: somebody else writes to '{self.repo}'; wait for them, {_RESUME}")
        if trouble.retry_after is not None and trouble.retry_after > MAX_WAIT:
            return StorageError(f"{said}: the Hub asks to wait {trouble.retry_after / 60:.0f} minutes; then {_RESUME}")
        return StorageError(f"{said}: {_RESUME}")

    def _advice(self, status: int | None) -> str | None:
        namespace = self.repo.partition("/")[0]
        return {
            400: "correct what the Hub refuses, then repeat the command",
            401: f"the token is not valid: make one at {_SETTINGS}, then `hf auth login`, HF_TOKEN or --token-file",
            402: f"'{namespace}' has no storage left: free some, change the plan, or publish without --private",
            403: f"the token may not do this in '{namespace}': it needs the role 'write', or, fine-grained, write "
            f"access to the contents and settings of its repositories (--create-pr: discussions too); see {_SETTINGS}",
            404: f"'{self.repo}' or a revision of it is not there, or the token may not see it",
            413: "too large for the Hub: build the dataset again with smaller files",
            422: "correct what the Hub refuses, then repeat the command",
        }.get(status or 0)


def _cause(trouble: Trouble) -> str:
    if trouble.status is None:
        return trouble.told
    return f"the Hub answered {trouble.status}{f' ({trouble.told})' if trouble.told else ''}"


@contextmanager
def tamed_library(token: Token, notify: Callable[[str], None]) -> Iterator[None]:
    """Within the block the Hub's library shows no bars, and its log and warnings go to ``notify``, scrubbed."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notify(token.scrub(record.getMessage()))

    logger = logging.getLogger("huggingface_hub")
    handlers, propagate, timeout = logger.handlers, logger.propagate, get_session().timeout
    bars = not are_progress_bars_disabled()
    logger.handlers, logger.propagate = [Forward()], False
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_rest, **_more: notify(token.scrub(str(message)))
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        get_session().timeout = timeout
        if bars:
            enable_progress_bars()
