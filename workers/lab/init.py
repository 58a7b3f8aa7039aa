"""The first process of a lab node: it reaps orphans, and its end is the end of every process of the node.

The kernel kills all of a PID namespace when its first process ends (pid_namespaces(7)), so a node dies like a
machine that loses power: at once, and nothing of it is left running. Imports nothing but the standard library.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Reap for ever. SIGTERM ends the node."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    waiting = {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigtimedwait(waiting, 3600)


if __name__ == "__main__":
    main()
