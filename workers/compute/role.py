"""The compute role: makes containers follow wishes."""

from __future__ import annotations

from common.logs import get_logger
from common.oci.store import ContentStore
from common.status import EngineFacts
from common.warm import SUBJECT
from common.wishes import ComputeWish, WarmWish, Wish
from common.words import Resources, Role
from workers.box import capacity
from workers.box.jobs import Lane
from workers.box.owner import Switch
from workers.box.role import BoxContext, RoleFacts
from workers.box.room import Room
from workers.compute.activity import Watch
from workers.compute.caretaking import Caretaking
from workers.compute.ending import Ending
from workers.compute.engine import Engine
from workers.compute.engines import find_engine
from workers.compute.firewall import Firewall, bridge_prefix
from workers.compute.handed import Handed
from workers.compute.images import Images
from workers.compute.instances import InstanceRow, Instances, Stage
from workers.compute.labels import LABEL_BOX
from workers.compute.launch import registry
from workers.compute.logs import LogKeeper
from workers.compute.mounting import Mounting
from workers.compute.mounts import Mounts
from workers.compute.networks import NetworkPool
from workers.compute.outbox import Outbox
from workers.compute.pool import Pool
from workers.compute.shares import EndedShares
from workers.compute.starting import Starting
from workers.compute.tools import Layers, Mounter, Tools
from workers.compute.unpacked import UnpackedImages
from workers.compute.warm import Warm
from workers.compute.watching import Watching
from workers.depository.client import LayersClient
from workers.depository.holdings import Holdings
from workers.depository.keeping import Keeper

log = get_logger(__name__)


class Compute:
    """One box's containers. The engine is looked for at `start`."""

    role = Role.COMPUTE

    def __init__(
        self, context: BoxContext, *, mounter: Mounter | None = None, layers: Layers | None = None
    ) -> None:
        self._context = context
        self._mounter = mounter or Mounts(context)
        self._layers = layers or LayersClient(context.paths)
        self._instances = Instances(context.table)
        # Fetched layers are kept and offered on; where the box has the role depository, that one keeps them.
        self._holdings = Holdings(context.table, ContentStore(context.paths.store))
        self._keeper = Keeper(context, self._holdings)
        self._engine: EngineFacts | None = None
        self._ended_shares = EndedShares(context.table)
        self._switch = Switch(context.config.state_dir)
        self._is_depository = Role.DEPOSITORY in context.config.roles

    def start(self) -> None:
        """Find the engine and adopt what a former worker left. Raises EngineUnavailable, FirewallError."""
        engine = find_engine(self._context.config.engine_url)
        self._engine = engine.facts()
        self._assemble(engine)
        listed = engine.containers({LABEL_BOX: self._context.config.box})
        self._caretaking.remove_strangers(listed)
        self._tools.networks.adopt()
        self._tools.mounter.adopt()
        self._tools.pool.adopt(self._ending.undo)
        self._watching.compare(listed)
        self._watching.start()
        self._caretaking.look()
        log.info("compute role started", engine=engine.name, adopted=len(self._instances.held()))

    def _assemble(self, engine: Engine) -> None:
        context, config = self._context, self._context.config
        firewall = Firewall(bridge_prefix(config), gateway_resolves=engine.gateway_resolves_names)
        self._tools = Tools(
            context=context,
            engine=engine,
            instances=self._instances,
            networks=NetworkPool(config, context.table, self._instances, engine, firewall),
            pool=Pool(context.table, context.paths, self._instances),
            mounter=self._mounter,
            layers=self._layers,
            logs=LogKeeper(context.paths.logs / "instances", engine),
            room=Room(config, context.paths, context.table),
            handed=Handed(config.state_dir),
            outbox=Outbox(context.reporter),
            wake=self._wake,
        )
        unpacked = UnpackedImages(
            engine,
            context.table,
            self._holdings,
            self._keeper.space,
            registry=registry(config.loopback_port),
        )
        images, mounting = Images(self._tools, self._holdings, unpacked), Mounting(self._tools)
        self._watching = Watching(config.box, engine, self._instances, self._wake)
        self._activity = Watch(context.table, self._instances, engine, self._tools.outbox)
        self._ending = Ending(self._tools, images, mounting)
        room = capacity.detect(config)
        self._warm = Warm(self._tools, images, self._ending, room)
        self._starting = Starting(self._tools, images, mounting, self._ending, self._warm, room)
        self._keeper.know(unpacked)
        self._caretaking = Caretaking(self._tools, self._ending, self._watching, self._keeper)

    def converge(self, wish: Wish) -> None:
        """Take one instance a step towards its wish, or report the fact again."""
        if isinstance(wish, WarmWish) and not self._switch.is_off:
            self._warm.converge(wish)
        if not isinstance(wish, ComputeWish):
            return
        self._ended_shares.end(wish.instance, wish.ended_shares)
        row = self._instances.get(wish.instance)
        if row is not None and row.generation > wish.generation:
            return
        if row is not None and row.generation < wish.generation:
            if not self._ending.undo(row):
                return
            row = None
        if wish.wanted == "stopped":
            self._ending.stop(wish, row)
        elif row is None or not self._is_ending(wish, row):
            self._starting.advance(wish, row)

    def _is_ending(self, wish: ComputeWish, row: InstanceRow) -> bool:
        """Whether the instance has ended, or just did by itself; then that is done and told."""
        if row.state.is_over:
            self._ending.tell(row)
            return True
        # What it took over and has not woken yet may be gone: then it gets another container.
        if row.state is not Stage.PREPARING and self._watching.is_gone(row.container):
            if self._ending.exited(wish, row):
                return self._ending.undo(row) or True
            self._watching.back(row.container or "")
        if row.state is Stage.ENDING:
            self._ending.finish(row)
            return True
        return False

    def forget(self, subject: str) -> None:
        """The master no longer lists the instance, or the prewarmed ones."""
        if subject.startswith(SUBJECT):
            self._warm.forget(subject)
            return
        row = self._instances.get(subject)
        if row is not None and self._ending.undo(row):
            self._instances.forget(subject)
            self._ended_shares.forget(subject)
            self._tools.outbox.forget(subject)

    def facts(self) -> RoleFacts:
        """What the instances here hold, and what their images take in the engine."""
        held = [row for row in self._instances.held() if not row.is_waiting]
        blobs_bytes = self._holdings.size_bytes()
        return RoleFacts(
            used=sum((row.resources for row in held), Resources()),
            instances=len(held),
            blobs_bytes=0 if self._is_depository else blobs_bytes,
            engine_bytes=self._keeper.space.use(blobs_bytes).engine_bytes,
            alert=self._keeper.space.alert(),
            engine=self._engine,
            prewarmed=self._tools.pool.ready(),
        )

    def tidy(self) -> None:
        """See Caretaking; instances for which no wish is left are undone, and all where the owner switched off."""
        self._caretaking.look()
        if self._switch.is_off:
            for row in self._caretaking.send_away():
                self._wake(row.instance)
        for row in self._caretaking.unwanted():
            self._wake(row.instance)
        self._warm.tidy()
        self._context.jobs.submit(Lane.PROBE, ("compute", "activity"), self._activity.look)
        if not self._is_depository:
            self._keeper.tidy()

    def _wake(self, instance: str) -> None:
        self._context.jobs.submit(Lane.SHORT, (self.role, instance), lambda: self._reconverge(instance))

    def _reconverge(self, instance: str) -> None:
        wish = self._context.wishes.current(self.role, instance)
        if wish is not None:
            self.converge(wish)
        else:
            self.forget(instance)
