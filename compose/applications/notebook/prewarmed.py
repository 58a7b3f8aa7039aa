"""JupyterLab that is loaded before anybody asks for it: what takes long comes first, then whose it is, then the rest.

What it imports touches no file of the person: the home is not there yet. Its settings are read after it is.
"""

import importlib
import os
import sys
from pathlib import Path

HANDOVER = Path(os.environ["OPENRAAS_HANDOVER"])
# The application, and what its extensions and a request would load.
LOADED = (
    "jupyterlab.labapp",
    "jupyter_lsp.serverextension",
    "notebook_shim.nbserver",
    "jupyter_server_terminals.app",
    "jupyter_server.services.contents.largefilemanager",
    "jupyter_server.services.kernels.kernelmanager",
    "jupyter_server.services.sessions.sessionmanager",
    "jupyterlab_server.handlers",
    "jupyterlab.handlers.build_handler",
    "terminado",
    "babel.localedata",
)


def load() -> None:
    """A module of another version's is left out: it is loaded when it is needed."""
    for name in LOADED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"not loaded ahead: {error}", file=sys.stderr)


def wait_for_owner() -> None:
    """Tell that it is loaded; return when it is somebody's, with the environment that came along."""
    (HANDOVER / "ready").write_text("loaded\n")
    with (HANDOVER / "go").open() as lines:
        for line in lines:
            if not (line := line.rstrip("\n")):
                return
            name, _, value = line.partition("=")
            os.environ[name] = value


if __name__ == "__main__":
    load()
    wait_for_owner()
    os.chdir(os.environ["HOME"])  # what lies there now, not what lay there before the home came
    sys.argv = ["jupyter-lab"]
    from jupyterlab.labapp import main

    main()
