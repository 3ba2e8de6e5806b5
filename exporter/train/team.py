"""The processes that train together: one, or as many as torchrun or accelerate's launcher started.

All of them train. The main one alone writes files, shows progress and does what comes after the
training.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

Result = TypeVar("Result")

PATIENCE = timedelta(hours=12)
"""How long a process waits for another: one of them measures, writes and saves in between."""


@dataclass
class Team:
    """This process among the others.

    Attributes:
        rank: 0 is the main one.
        processes: how many there are.
    """

    rank: int = 0
    processes: int = 1

    @staticmethod
    def launched() -> Team:
        """The team that a launcher's environment tells of."""
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        return Team(int(os.environ.get("RANK", "0")) if processes > 1 else 0, processes)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @property
    def on_cpus(self) -> bool:
        """Whether the processes of a team compute on CPUs.

        accelerate must be told: without, it takes each one for alone where there is no GPU.
        """
        import torch

        return self.processes > 1 and not torch.accelerator.is_available()

    def share(self, compute: Callable[[], Result]) -> Result:
        """What the main process computes, in all of them; the others wait for it."""
        if self.processes == 1:
            return compute()
        import torch.distributed
        from accelerate import PartialState

        PartialState(self.on_cpus, timeout=PATIENCE)
        box = [compute() if self.main else None]
        torch.distributed.broadcast_object_list(box)
        return box[0]  # type: ignore[return-value]

    def part(self) -> None:
        """Leave each other: what follows is for the main process alone."""
        if self.processes > 1:
            import torch.distributed

            if torch.distributed.is_initialized():
                # A module left over that is the last to hold the group would end the group's
                # threads under the interpreter's lock, for which they wait.
                gc.collect()
                torch.distributed.destroy_process_group()
            self.processes = 1
