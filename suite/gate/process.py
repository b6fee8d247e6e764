"""A tree of the suite's code, and the fresh processes that measure with it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from suite.core.errors import UserError
from suite.gate.counts import Counts
from suite.gate.worker import WorkerSetting

#: Folder that holds the package of this code.
HERE = Path(__file__).resolve().parent.parent.parent
_GATE = Path("suite", "gate")
#: Fixed hashes of strings, so that the counts are the same every time.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}


class Failed(Exception):
    """Raised with the reason if a case cannot be measured."""


class Worker:
    """A fresh process that measures with a tree's code; the process ends with the context.

    Raises:
        UserError: if the process does not start.
    """

    def __init__(self, tree: Path, setting: WorkerSetting) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "suite.gate.worker"],
                cwd=tree,
                env=environment(tree),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            raise UserError(f"cannot start a process that measures ({error}).") from error
        with suppress(Failed):  # the process died; the next question reports that
            self._say(setting)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def begin(self) -> None:
        """Let the process start to build all cases; `ready` waits until they are built."""
        with suppress(Failed):
            self._say(["ready"])

    def ready(self) -> dict[str, str]:
        """Return the names of the cases that cannot be measured, with the reasons."""
        return self._hear()

    def pairs(self, name: str, seconds: float) -> list[tuple[float, float]]:
        """Return pairs of seconds (case, calibration); raise `Failed` if the case fails."""
        return [(work, plain) for work, plain in self._ask("pairs", name, seconds)]

    def counts(self, name: str) -> Counts:
        """Return the exact counts of a case; raise `Failed` if the case fails."""
        return Counts(**self._ask("counts", name))

    def _say(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
        except OSError:
            raise self._died() from None

    def _ask(self, *question: Any) -> Any:
        self._say(question)
        return self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer["result"]

    def _died(self) -> Failed:
        self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["it printed nothing"])[-1]
        return Failed(f"the process that measures died: {last}")


def environment(tree: Path) -> dict[str, str]:
    """Return the environment of a process that measures with a tree's code."""
    path = os.pathsep.join(filter(None, [str(tree), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **_ENVIRONMENT, "PYTHONPATH": path}


@contextmanager
def other(revision: str) -> Iterator[tuple[Path, str]]:
    """Unpack a commit's code into a temporary folder; yield the folder and the commit's hash.

    The gate's code there is replaced by this tree's, so that the same code measures both.

    Raises:
        UserError: if there is no such commit, this tree is not a checkout, or the disk is full.
    """
    top = _git("rev-parse", "--show-toplevel").decode().strip()
    if Path(top).resolve() != HERE:
        raise UserError(
            "--against compares commits of the suite's own checkout, and this suite is installed; "
            "leave it out, or run from a checkout."
        )
    commit = _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    name = commit.decode().strip()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        try:
            with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", name))) as packed:
                packed.extractall(tree, filter="data")
            shutil.rmtree(tree / _GATE, ignore_errors=True)
            shutil.copytree(HERE / _GATE, tree / _GATE, ignore=shutil.ignore_patterns("*.pyc"))
        except OSError as error:
            raise UserError(
                f"cannot lay {name[:9]} beside this tree ({error.strerror or error}); free some "
                "space for temporary files."
            ) from error
        yield tree, name


def _git(*words: str) -> bytes:
    try:
        return subprocess.run(
            ["git", "-C", str(HERE), *words], capture_output=True, check=True
        ).stdout
    except OSError as error:
        raise UserError(f"--against needs git ({error}).") from error
    except subprocess.CalledProcessError as error:
        message = (error.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        wanted = words[-1].removesuffix("^{commit}")
        raise UserError(
            f"--against: git says of {wanted!r}: {message}; name a commit of the checkout that the "
            "suite runs from."
        ) from error
