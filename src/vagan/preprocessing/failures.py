"""A table of failed scans with reasons, safe against kills and concurrent jobs.

Each failure is a file of its own in ``logs/failed`` until its scan is prepared; ``failed.csv`` is the table of them.
"""

import hashlib
import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pandas as pd

from vagan.files import replacing
from vagan.preprocessing.runner import Outcome

FAILED = "failed.csv"
COLUMNS = ("image", "subject", "session", "reason")


class Failures:
    """The failures of a folder of derivatives, of this run and of others."""

    def __init__(self, out: Path) -> None:
        self._out, self._folder = out, out / "logs" / "failed"

    def record(self, outcome: Outcome) -> None:
        """Record a failure, or clear an earlier one of the same scan."""
        job = outcome.job
        path = self._file(str(job.image))
        if outcome.status != "failed":
            path.unlink(missing_ok=True)
            return
        row = (str(job.image), job.subject, job.session, outcome.reason)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n", encoding="utf-8")

    def rows(self) -> list[dict[str, str]]:
        """All failures, sorted by subject."""
        found = []
        for path in self._folder.glob("[!.]*.json"):
            with suppress(FileNotFoundError):  # cleared by a concurrent run
                found.append(json.loads(path.read_text(encoding="utf-8")))
        return sorted(found, key=lambda row: (row["subject"], row["session"], row["image"]))

    def forget_others(self, images: Collection[str]) -> None:
        """Forget the failures of images that are no longer there."""
        for row in self.rows():
            if row["image"] not in images:
                self._file(row["image"]).unlink(missing_ok=True)

    def write_table(self) -> None:
        """Write ``failed.csv``; only its header if nothing failed."""
        with replacing(self._out / FAILED) as temporary:
            pd.DataFrame(self.rows(), columns=list(COLUMNS)).to_csv(temporary, index=False)

    def _file(self, image: str) -> Path:
        return self._folder / f"{hashlib.blake2b(os.fsencode(image), digest_size=8).hexdigest()}.json"
