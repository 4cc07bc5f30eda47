"""What callers of the API read: its OpenAPI document, generated from the table of calls and committed.

`python -m web.published` writes it beside the other published schemas; `--check` writes nothing and fails (exit status
1) when it is stale.
"""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.published import FOLDER, main
from web.api import RESOURCES
from web.api.openapi import document

# The API's own: what is under /api/v1 only ever grows, whatever the service's version is.
VERSION = "1.0.0"


def openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all calls."""
    return document([route for table in RESOURCES for route in table.routes], VERSION)


def documents() -> dict[Path, str]:
    """Return the text of the published document by the path at which it is committed."""
    return {FOLDER / "openapi.json": json.dumps(openapi(), indent=2) + "\n"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], documents()))
