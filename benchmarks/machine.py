"""What was measured on: the kind of machine, never which one (no host name, no paths)."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Final

from exporter.build import Frozen

CPUINFO: Final = Path("/proc/cpuinfo")
MEMINFO: Final = Path("/proc/meminfo")

# Instruction sets that int8 kernels choose by, as the kernel names them, with their usual names.
FEATURES: Final = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX-INT8",
    "asimd": "NEON",
    "asimddp": "DotProd",
    "i8mm": "I8MM",
    "sve": "SVE",
}


class Machine(Frozen):
    """A kind of machine.

    Attributes:
        cpu: the processor's model name.
        architecture: such as x86_64.
        features: those of FEATURES that it has; None where the system does not tell.
        cores: logical processors that this process may use.
        memory_gib: physical memory; None where the system does not tell.
        system: the operating system and its release.
    """

    cpu: str
    architecture: str
    features: tuple[str, ...] | None
    cores: int
    memory_gib: float | None
    system: str

    def sentence(self) -> str:
        """One line for people."""
        parts = [self.cpu, *(self.features or ()), f"{self.cores} cores"]
        if self.memory_gib is not None:
            parts.append(f"{self.memory_gib:g} GiB")
        return ", ".join([*parts, self.system])


def this_machine(cpuinfo: Path = CPUINFO, meminfo: Path = MEMINFO) -> Machine:
    """Describe the machine that runs this."""
    fields = _fields(cpuinfo)
    flags = fields.get("flags") or fields.get("Features")
    memory = _fields(meminfo).get("MemTotal", "").split()
    known = set(flags.split()) if flags is not None else None
    return Machine(
        cpu=fields.get("model name") or _brand() or platform.machine(),
        architecture=platform.machine(),
        features=None if known is None else tuple(FEATURES[f] for f in FEATURES if f in known),
        cores=_cores(),
        memory_gib=round(int(memory[0]) / 2**20, 1) if memory else None,  # the kernel counts KiB
        system=f"{platform.system()} {platform.release().split('-')[0]}",
    )


def _fields(path: Path) -> dict[str, str]:
    """`name : value` lines; of a name that comes again (one a core) the first counts."""
    fields: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return fields
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _brand() -> str:
    """The processor's name on macOS; empty elsewhere."""
    if platform.system() != "Darwin":
        return ""
    argv = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
