"""A box that keeps layers and filesets behind the real portal: its front's routes, served on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.join import JoinAnswer
from common.names import layers_key
from common.oci.store import ContentStore
from common.reports import FilesetHeld
from common.signing import SealKey, Verifier
from common.words import Endpoint, Role
from master.context import MasterContext
from master.filesets.services import record_fileset_held
from tests.support.master import FakeBox
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.front import make_server
from workers.box.table import Table
from workers.depository.holdings import Holdings
from workers.depository.registry import Registry
from workers.filestore.content import Content
from workers.filestore.volumes import Volumes


class StoreBox:
    """Depository and filestore in threads of this process; `report` stands in for its worker."""

    def __init__(self, name: str, directory: Path, master: MasterContext, portal: Endpoint) -> None:
        self.name = name
        self._master = master
        config = BoxConfig(box=name, state_dir=directory, roles=frozenset({Role.DEPOSITORY, Role.FILESTORE}))
        answer = JoinAnswer(
            box=name,
            certificate="",
            authority="",
            master_key=master.signer.public_key,
            master=portal,
            redis_url="redis://127.0.0.1:1/0",
            applications_domain="localhost",
        )
        Identity(answer=answer, seal_key=SealKey.generate()).save(directory)
        paths, table = BoxPaths(directory), Table(directory / "box.db")
        verifier = Verifier(master.signer.public_key)
        routes = [
            Registry(config, paths, table, verifier, accel=False),
            Content(config, paths, table, verifier),
        ]
        self.holdings = Holdings(table, ContentStore(paths.store))
        self.volumes = Volumes(paths, table)
        self.server = make_server(("127.0.0.1", 0), list(routes))
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.front = Endpoint(host="127.0.0.1", port=self.server.server_address[1])
        self.row = FakeBox(master, name, roles=config.roles, front=self.front, filestore=self.front)

    def report(self) -> None:
        """Tell the master what lies here."""
        digests = [digest for digest in self._digests() if self.holdings.store.has(digest)]
        if digests:
            self._master.redis.sadd(layers_key(self.name), *digests)
        with self._master.database.write() as session:
            for item in self.volumes.versions():
                facts = FilesetHeld(
                    subject=f"fileset.{item.fileset}",
                    generation=0,
                    fileset=item.fileset,
                    fileset_version=item.version,
                    size_bytes=item.size_bytes,
                    files=item.files,
                )
                record_fileset_held(session, self.name, facts)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Tell the master again and again meanwhile, as a worker does."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(0.05):
                self.report()

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _digests(self) -> list[str]:
        folder = self.holdings.store.root / "blobs" / "sha256"
        return [f"sha256:{path.name}" for path in folder.iterdir()]

    def stop(self) -> None:
        """End its server."""
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def store_boxes(
    directory: Path, master: MasterContext, portal: Endpoint, *names: str
) -> Iterator[list[StoreBox]]:
    """Boxes with these names, all stopped in the end."""
    made: list[StoreBox] = []
    try:
        for name in names:
            (directory / name).mkdir(parents=True)
            made.append(StoreBox(name, directory / name, master, portal))
        yield made
    finally:
        for box in made:
            box.stop()
