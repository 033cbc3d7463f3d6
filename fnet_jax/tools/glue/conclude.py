"""What a GLUE job leaves: the table, its picture, everything as JSON, and the submission."""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

from fnet_jax.core.files import write_atomically
from fnet_jax.tools.glue import table as glue_table
from fnet_jax.tools.glue.job import GlueJob
from fnet_jax.tools.sweep.results import PICTURE_FILE, RESULTS_FILE, TABLE_FILE, state

SUBMISSION_FILE = "submission.zip"


def conclude(job: GlueJob) -> int:
    """Writes and prints the table and the submission; returns the exit code."""
    files = (TABLE_FILE, PICTURE_FILE, RESULTS_FILE, SUBMISSION_FILE)
    table, picture, results, submission = paths = [os.path.join(job.options.workdir, name) for name in files]
    faults = job.predict()
    warnings = job.write_submission(submission)
    rows = job.rows()
    averages = [glue_table.glue_average(rows), glue_table.paper_average(rows)]
    said = [f"GLUE average: {averages[0]}", f"paper's average: {averages[1]}"]
    text = "\n".join([glue_table.table(rows), "", *said, *_what_is_missing(job)])
    settings = f"All settings:\n\n{glue_table.all_settings(job.groups())}"
    write_atomically(table, f"{text}\n\n{settings}\n")
    write_atomically(results, json.dumps(_content(job, rows, averages), indent=2) + "\n")

    from fnet_jax.tools.glue.plot import draw_glue

    draw_glue(rows, picture)
    print(f"\n{text}\n")
    print("\n".join(f"submission: {warning}" for warning in [*faults, *warnings]))
    print(f"files: {' '.join(paths)}")
    is_done = all(result and result.is_done for _, result in job.results())
    return 0 if is_done and not faults else 1


def _what_is_missing(job: GlueJob) -> list[str]:
    """A sentence on each task without data and each run that failed, one on those that wait."""
    lines = [f"{title} is not in the table: {why}" for title, why in job.skipped.items()]
    results = job.results()
    lines += [
        f"{point.name} {state(result)}: {result.error}"
        for point, result in results
        if result and not result.is_done
    ]
    waiting = sum(result is None for _, result in results)
    return [*lines, *([f"{waiting} runs are not done yet; the same command goes on"] if waiting else [])]


def _content(
    job: GlueJob, rows: Sequence[glue_table.GlueRow], averages: Sequence[glue_table.Average]
) -> dict[str, Any]:
    """Everything that the table is made from."""
    return {
        "tasks": [dataclasses.asdict(row) for row in rows],
        "averages": {
            name: {"value": average.value, "of": list(average.of), "total": average.total}
            for name, average in zip(("glue", "paper"), averages, strict=True)
        },
        "runs": [
            {
                "overrides": point.overrides,
                "state": state(result),
                "seconds": result.seconds if result else None,
                "values": result.values if result else {},
            }
            for point, result in job.results()
        ],
        "skipped": job.skipped,
    }
