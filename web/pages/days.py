"""Days of the program: today's, and those that a person types into a form."""

from datetime import date, datetime, time

from web.pages.visits import Visit


def today(visit: Visit) -> date:
    """Return the day that it is where the program is."""
    return visit.now.astimezone(visit.zone).date()


def start_of_day(visit: Visit, typed: str) -> str:
    """Return when a day begins where the program is, as the API takes it.

    What is no day stays as it was typed, for the API to refuse it by its field.
    """
    try:
        day = date.fromisoformat(typed)
    except ValueError:
        return typed
    return datetime.combine(day, time(), visit.zone).isoformat()
