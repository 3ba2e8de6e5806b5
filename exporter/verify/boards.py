"""The boards whose CPUs are emulated, and what their kernels tell programs about them.

qemu's user mode emulates the instructions alone: /proc and /sys stay those of the machine it runs
on. Interpreters read both to choose kernels (XNNPACK by the core's part number) and to count cores,
and crash on what does not fit, so a board brings its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CORES = 4
ARMV8 = "fp asimd evtstrm crc32 cpuid"
ARMV8_2 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)


@dataclass(frozen=True)
class Board:
    """One board with four cores of one kind.

    `part`, `variant` and `revision` are fields of the core's Main ID Register (Arm's Technical
    Reference Manual of each core); `features` are Linux's names of its instruction sets.
    """

    cpu: str
    model: str
    part: int
    variant: int
    revision: int
    features: str

    def cpuinfo(self) -> str:
        """The text of /proc/cpuinfo, as an arm64 Linux kernel writes it."""
        core = (
            "BogoMIPS\t: 108.00\n"
            f"Features\t: {self.features}\n"
            "CPU implementer\t: 0x41\n"
            "CPU architecture: 8\n"
            f"CPU variant\t: 0x{self.variant:x}\n"
            f"CPU part\t: 0x{self.part:03x}\n"
            f"CPU revision\t: {self.revision}\n"
        )
        cores = "\n".join(f"processor\t: {index}\n{core}" for index in range(CORES))
        return f"{cores}\nModel\t\t: {self.model}\n"

    def files(self) -> Iterator[tuple[str, str]]:
        """(path below the root, text) of every file that interpreters read to know the board."""
        yield "proc/cpuinfo", self.cpuinfo()
        for name in ("possible", "present"):
            yield f"sys/devices/system/cpu/{name}", f"0-{CORES - 1}\n"


PI_3 = Board("cortex-a53", "Raspberry Pi 3 Model B Plus Rev 1.3", 0xD03, 0x0, 4, ARMV8)
PI_4 = Board("cortex-a72", "Raspberry Pi 4 Model B Rev 1.4", 0xD08, 0x0, 3, ARMV8)
PI_5 = Board("cortex-a76", "Raspberry Pi 5 Model B Rev 1.0", 0xD0B, 0x4, 1, ARMV8_2)
