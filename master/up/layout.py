"""Where `openraas up` keeps its own things under the state directory, beside `MasterPaths`."""

from __future__ import annotations

from pathlib import Path

from common.supervision import Supervisor
from master.context import MasterPaths


class Layout:
    """Folders of the programs that `up` starts."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir
        self.master = MasterPaths(state_dir)
        self.redis = state_dir / "redis"
        self.redis_users = self.redis / "users.acl"
        self.engine = state_dir / "engine"
        self.engine_socket = self.engine / "docker.sock"
        self.box = state_dir / "box"
        self.box_identity = self.box / "identity.json"
        self.box_options = self.box / "box.toml"
        self.lock = self.master.run / "up.lock"

    def supervisor(self) -> Supervisor:
        """The supervisord of the master's programs."""
        return Supervisor(self.master.run, self.master.logs)

    def box_supervisor(self) -> Supervisor:
        """The supervisord of the box that `up` runs beside the master."""
        return Supervisor(self.box / "run", self.box / "logs")
