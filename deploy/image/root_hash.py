#!/usr/bin/env python3
"""The hash of an image's root file system: two builds of the same files on the same base have the same.

    docker export "$(docker create daifu)" | deploy/image/root_hash.py

Prints the hash; with `--list` every line that it is made of: type, mode, owner, time, content, path. A folder's time is left
out (laying layers upon each other changes it), and so is what Docker puts into every container.
"""

import hashlib
import sys
import tarfile
from typing import Final

OF_THE_CONTAINER: Final = {".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}
MOUNTED: Final = ("dev", "proc", "sys")


def line_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member) if member.isfile() else None
    content = member.linkname if file is None else hashlib.sha256(file.read()).hexdigest()
    time = "-" if member.isdir() else str(int(member.mtime))
    kind = member.type.decode()
    return f"{kind} {member.mode:04o} {member.uid}:{member.gid} {time} {content or '-'} {member.name}"


def lines() -> list[str]:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        return sorted(
            line_of(archive, member)
            for member in archive
            if member.name not in OF_THE_CONTAINER and member.name.split("/")[0] not in MOUNTED
        )


found = "\n".join(lines())
sys.stdout.write((found if "--list" in sys.argv[1:] else hashlib.sha256(found.encode()).hexdigest()) + "\n")
