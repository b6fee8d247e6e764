"""Settings of the processes that compute: memory allocator, and CUDA's determinism.

glibc gives large temporaries back to the system after every operation and faults them in again for
the next, which costs training steps of this size up to half their time. The settings keep them.
They are read when a process starts, so the command line starts itself again with them; whoever set
one of them keeps his value. Every engine and every comparison runs under the same settings, and
the record says which.
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
    """Replace this process by itself with the settings, where they apply and are not in force."""
    applies = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
    if not applies or _MARK in os.environ or not sys.executable:
        return
    environment = {**SETTINGS, **os.environ, _MARK: "1"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
