"""Entry point of the gate for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from suite.config.cell import Cell
from suite.core.errors import UserError
from suite.gate import render as show
from suite.gate.cases import plans
from suite.gate.files import Folder, machine
from suite.gate.measure import FAST, FULL, Say
from suite.gate.process import other
from suite.gate.run import GateOutcome, against_baseline, against_commit
from suite.gate.worker import WorkerSetting


def run_gate(
    cells: Sequence[Cell],
    data: Path | None,
    plugins: Sequence[Path],
    results: Path,
    say: Say,
    *,
    fast: bool = False,
    against: str | None = None,
    update: bool = False,
    only: str = "",
) -> tuple[GateOutcome, str, Path]:
    """Measure the cases of some cells, compare them, and write the outcome.

    Args:
        cells: cells of a profile.
        data: folder of data sets.
        plugins: files that register components.
        results: results folder; the gate writes into its sub-folder ``gate/``.
        say: function that receives one short text for each step.
        fast: whether to use the small set of cases and less time.
        against: commit to compare with instead of the baseline.
        update: whether to make the baseline again.
        only: text that the names of the wanted cases contain.

    Returns:
        The outcome, its Markdown text, and the folder with the written files.

    Raises:
        UserError: if there is nothing to measure or no such commit, if another gate is running, or
            if files cannot be read or written.
    """
    if update and against:
        raise UserError("--update makes a baseline, and --against needs none; leave one out.")
    wanted = [plan for plan in plans(cells) if only in plan.name and (plan.fast or not fast)]
    if not wanted:
        names = ", ".join(plan.name for plan in plans(cells) if plan.fast or not fast)
        raise UserError(
            f"no case of the gate has {only!r} in its name; there are {names or 'none at all'}."
        )
    setting = WorkerSetting(
        wanted, [str(path.resolve()) for path in plugins], str(data.resolve()) if data else None
    )
    devices = list(dict.fromkeys(cell.numerics.device for cell in cells))
    folder, effort = Folder(results, machine(devices)), FAST if fast else FULL
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "lock").touch()
    except OSError as error:
        raise UserError(
            f"cannot write {str(folder.path)!r} ({error.strerror}); name another --results."
        ) from error
    try:
        with FileLock(folder.path / "lock", timeout=0):
            if against:
                with other(against) as tree:
                    outcome = against_commit(tree, folder.name, setting, effort, say)
            else:
                outcome = against_baseline(folder, setting, effort, say, update)
            text = show.gate_markdown(outcome)
            folder.report(show.machine_readable(outcome), text)
            show.draw(folder.add(show.line(outcome)), folder.path / "history.png")
    except Timeout:
        raise UserError(
            "another gate is at work on this results folder, and two would time each other; wait "
            "for it."
        ) from None
    return outcome, text, folder.path
