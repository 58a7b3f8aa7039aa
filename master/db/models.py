"""Every table, gathered for Alembic and for tests."""

from master.accounts.models import ApiToken, Group, Identity, Membership, ResetLink, User, WebSession
from master.audit.models import AuditEntry
from master.boxes.models import Box, JoinSecret
from master.catalogue.models import Application
from master.db.base import Base
from master.deployments.models import Deployment, Instance, Mount, TimelineRow
from master.files.models import FileShare
from master.filesets.models import Fileset, FilesetCopy
from master.images.models import BlobChunks, Image, ImageHolding, ImageReferrer, ImageVariant, Tag
from master.layers.models import LayerOrder
from master.limits.models import Limit
from master.metrics.models import BoxSample
from master.mirrors.models import Mirror
from master.nearness.models import Sighting
from master.prewarming.models import PrewarmOrder, WarmPool
from master.sharing.models import Share
from master.simulation.models import Simulation, SimulationFile
from master.timetable.models import TimetableEntry
from master.web.models import KeptAnswer

__all__ = [
    "ApiToken", "Application", "AuditEntry", "Base", "BlobChunks", "Box", "BoxSample", "Deployment",
    "FileShare", "Fileset", "FilesetCopy", "Group", "Identity", "Image", "ImageHolding", "ImageReferrer",
    "ImageVariant", "Instance", "JoinSecret", "KeptAnswer", "LayerOrder", "Limit", "Membership", "Mirror",
    "Mount", "PrewarmOrder", "ResetLink", "Share", "Sighting", "Simulation", "SimulationFile", "Tag",
    "TimelineRow", "TimetableEntry", "User", "WarmPool", "WebSession",
]  # fmt: skip
