"""Settings of the processes that compute: memory allocator, and CUDA's determinism.

glibc returns the memory of large temporaries to the system after every operation and requests it
again for the next one, which costs training steps of this size up to half their time. With these
settings, glibc keeps the memory. The settings are read when a process starts, so the command line
starts itself again with them; values that the user has set are kept. Every engine and every
comparison runs under the same settings, which are written to the record.
"""

from __future__ import annotations

import os
import platform
import sys

SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "THP_MEM_ALLOC_ENABLE": "1",  # torch's own: large allocations on transparent huge pages
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS may sum in another order each time
}
_MARK = "FEWSHOT_SUITE_ALLOCATOR"


def restart_with_settings() -> None:
    """Start this process again with the settings, if they apply and are not set yet."""
    applies = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
    if not applies or _MARK in os.environ or not sys.executable:
        return
    environment = {**SETTINGS, **os.environ, _MARK: "1"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
