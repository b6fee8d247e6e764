"""Provenance of a record: the machine, the time and the code that made it."""

from __future__ import annotations

import ast
import datetime
import functools
import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from suite.core.version import __version__
from suite.records.schema import Provenance

PACKAGES = ("torch", "torchvision", "higher", "numpy", "scipy", "pillow", "matplotlib", "pydantic")
#: Environment variable that switches replay off in every process of a run.
NO_REPLAY = "FEWSHOT_SUITE_NO_REPLAY"
VARIABLES = (
    NO_REPLAY,
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "THP_MEM_ALLOC_ENABLE",
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_CBWR",
)
#: Packages whose code decides numbers; the others read, store, show or schedule.
COMPUTING = ("algorithms", "cell", "config", "core", "engines", "models", "tasks")
_ROOT = Path(__file__).resolve().parents[2]


def current_provenance(device: torch.device, threads: int) -> Provenance:
    """Return the provenance of a cell that starts now on ``device``."""
    commit, dirty = commit_of(_ROOT)
    cuda = device.type == "cuda"
    return Provenance(
        suite_version=__version__,
        commit=commit,
        dirty=dirty,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        platform=f"{platform.system()} {platform.release()}",
        processor=processor(),
        cores=usable_cores(),
        accelerator=torch.cuda.get_device_name(device) if cuda else None,
        threads=threads,
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


@functools.cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "none"
    versions["cuda"] = torch.version.cuda or "none"
    return versions


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def processor() -> str:
    """Return the processor's model name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def source_sha256(*parts: object) -> str:
    """Return the hash of the code that decides numbers.

    It covers the suite's packages that compute and the files that define ``parts`` (plug-ins). It
    ignores comments, docstrings and layout, so that checkpoints stay valid if only words change.
    """
    total = hashlib.sha256(package_sha256(_ROOT / "suite").encode())
    files = {getattr(sys.modules.get(type(part).__module__), "__file__", None) for part in parts}
    for path in sorted(Path(file).resolve() for file in files if file):
        total.update(code_of(path).encode())
    return total.hexdigest()


@functools.cache
def package_sha256(package: Path) -> str:
    """Return the hash of the code of the `COMPUTING` parts below ``package``."""
    total = hashlib.sha256()
    for part in COMPUTING:
        for path in sorted((package / part).rglob("*.py")):
            total.update(f"{path.relative_to(package).as_posix()}\0{code_of(path)}\0".encode())
    return total.hexdigest()


@functools.cache
def suite_sha256() -> str:
    """Return the hash of all of the suite's code: machines with one hash run the same code."""
    total = hashlib.sha256()
    for path in sorted((_ROOT / "suite").rglob("*.py")):
        total.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def code_of(path: Path) -> str:
    """Return the syntax tree of a Python file without docstrings, as text.

    Comments and layout are not part of a syntax tree. A statement that is only a string is the
    docstring of a module, class, function or field.
    """
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(node, name, [item for item in value if not _is_docstring(item)])
    return ast.dump(tree)


def _is_docstring(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@functools.cache
def commit_of(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit of a checkout and whether its code differs from it; Nones outside git.

    Results are not code: a run that writes records does not make the tree dirty.
    """

    def git(*words: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None, None
        changed = git("status", "--porcelain", "--", ".", ":(exclude)results")
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None, None
