"""How a prewarmed container hears whose it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from workers.compute.handover import VARIABLE, Handovers, letter, waiting_command

LIMIT_S = 20.0


def test_a_worker_that_is_killed_while_it_tells_leaves_nobody_with_half_of_it(tmp_path: Path) -> None:
    handovers = Handovers(tmp_path / "handovers")
    directory = handovers.make("warm-1")
    command = waiting_command(None, ["sh", "-c", 'echo "$FIRST-$SECOND"'])
    assert command is not None
    environment = {**os.environ, VARIABLE: str(directory)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as waiting:
        try:
            assert handovers.is_ready("warm-1", wait_s=LIMIT_S)
            # To open it for writing alone waits for the reader, whose stream ends with this block.
            with (directory / "go").open("wb") as killed:
                killed.write(b"FIRST=1\n")
            content = letter({"FIRST": "1", "SECOND": "2"})
            assert content is not None
            handovers.tell("warm-1", content)
            assert waiting.communicate(timeout=LIMIT_S)[0] == b"1-2\n"
        finally:
            waiting.kill()
            handovers.clear("warm-1")
