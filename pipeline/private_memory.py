"""Memory that holds passwords and keys stays in the process: no core file, no debugger, no /proc/PID/mem."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4  # linux/prctl.h


def keep_memory_private() -> None:
    """For this process and, as far as files go, for those it starts. Raises OSError where the kernel refuses.

    The limit of 0 stops core files. A handler that cores are piped to (systemd-coredump, apport) is not stopped by it, and other
    processes of the same user are not kept out: on Linux the process is made undumpable for that. Root still sees everything.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl(PR_SET_DUMPABLE)")
