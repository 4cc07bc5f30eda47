"""Where the ledger stands in a partition of the orders topic."""

from typing import NamedTuple

from ledger.intake import Intake, Source


class Tracked(NamedTuple):
    """A partition's source and the position of the last message that is on the books (None: nothing yet)."""

    source: Source
    position: int | None


def tracked(intake: Intake, log: str, topic: str, partition: int) -> Tracked:
    """Return where the ledger stands in the partition: in the newest of the logs that it has been (see `after_cut`).

    Raises RetryableError while the database is away.
    """
    found = Tracked(Source(log, topic, partition), None)
    following = found
    while (position := intake.position(following.source)) is not None:
        found = Tracked(following.source, position)
        following = after_cut(found)
    return found


def after_cut(found: Tracked) -> Tracked:
    """Return where to go on in a log that was cut off before our position: at the beginning, as a log of its own.

    An unclean election of a leader cuts a log. Its offsets are given out again to other messages, so positions from
    before mean nothing any more (`<source>#2` is the next one's name). It is read again from its beginning: the orders
    in it are recognised, and none is missed.
    """
    log, _, number = found.source.source.partition("#")
    return Tracked(found.source._replace(source=f"{log}#{int(number or 1) + 1}"), None)
