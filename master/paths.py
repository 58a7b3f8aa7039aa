"""Where things lie under the master's state directory."""

from __future__ import annotations

from pathlib import Path


class MasterPaths:
    """Files and folders by what they are for; none is made here."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir
        self.secrets = state_dir / "secrets"
        self.signing_key = self.secrets / "signing.key"
        self.seal_key = self.secrets / "seal.key"
        self.redis_url = self.secrets / "redis.url"
        self.admin_password = self.secrets / "admin.password"
        self.cli_token = self.secrets / "cli.token"
        self.web_secret = self.secrets / "web.key"
        self.authority_key = self.secrets / "ca.key"
        self.authority = state_dir / "ca.crt"
        # While one authority takes over from another: the next one, and the one before.
        self.next_authority_key = self.secrets / "ca-next.key"
        self.next_authority = self.secrets / "ca-next.crt"
        self.last_authority = self.secrets / "ca-last.crt"
        # All that are trusted now.
        self.trusted = state_dir / "ca-trusted.crt"
        self.private_key = self.secrets / "master.key"
        self.certificate = state_dir / "master.crt"
        self.portal_url = state_dir / "portal.url"
        self.run = state_dir / "run"
        self.flower_socket = self.run / "flower.sock"
        self.simulations = self.run / "simulations"
        self.logs = state_dir / "logs"
