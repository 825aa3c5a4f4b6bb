"""What is in a process's memory is not to be had: no core, and no look into it by another process of the same user."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

#: A child that keeps its memory private, or not; its parent, of the same user, tries to look in.
LOOK: Final = """
import ctypes, os, signal, sys
from pipeline.private_memory import keep_memory_private
if os.geteuid() == 0:  # root looks everywhere, so it steps down for this
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
ready, said = os.pipe()
child = os.fork()
if child == 0:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as a program starts; stepping down has cleared it
    if sys.argv[1] == "private":
        keep_memory_private()
    os.write(said, b"x")
    signal.pause()
os.read(ready, 1)
for what in ("mem", "environ", "fd"):
    try:
        path = f"/proc/{child}/{what}"
        os.listdir(path) if what == "fd" else open(path, "rb").close()
        print(what, "open")
    except PermissionError:
        print(what, "closed")
os.kill(child, 9)
os.waitpid(child, 0)
"""
AS_DAIFU: Final = """
import ctypes, os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
from pipeline.cli import main
main(["schemas", "--help"], standalone_mode=False)
print(ctypes.CDLL(None).prctl(3), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)  # PR_GET_DUMPABLE
os.kill(os.getpid(), signal.SIGABRT)
"""


@pytest.mark.parametrize(("how", "found"), [("private", "closed"), ("plain", "open")])
def test_another_process_of_the_same_user_can_not_look_in(how: str, found: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK, how], capture_output=True, text=True, check=True, timeout=60)
    assert dict(line.split() for line in done.stdout.splitlines()) == {"mem": found, "environ": found, "fd": found}


def test_every_command_of_daifu_runs_without_a_core(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", AS_DAIFU], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    told = process.communicate(timeout=60)[0].splitlines()[-1]
    assert told.split() == ["0", "0", "0"]
    assert process.returncode == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []
