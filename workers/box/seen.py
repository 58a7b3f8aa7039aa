"""Round trips that a box sees anyway: connections of its front process, told to its worker through the table."""

from __future__ import annotations

from workers.box.table import Table

_SCHEMA = "CREATE TABLE IF NOT EXISTS seen_round_trips (box TEXT PRIMARY KEY, round_trip_ms REAL NOT NULL)"


class SeenRoundTrips:
    """The last one to each box since somebody took them; both processes of a box use it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        table.create(_SCHEMA)

    def note(self, box: str, round_trip_ms: float) -> None:
        """A connection to a box was made."""
        self._table.write(
            "INSERT INTO seen_round_trips VALUES (?, ?) "
            "ON CONFLICT (box) DO UPDATE SET round_trip_ms = excluded.round_trip_ms",
            (box, round_trip_ms),
        )

    def take(self) -> dict[str, float]:
        """All that were noted since the last time, in milliseconds by box."""
        if not self._table.all("SELECT 1 FROM seen_round_trips LIMIT 1"):
            return {}
        with self._table.transaction() as connection:
            rows = connection.execute("SELECT box, round_trip_ms FROM seen_round_trips").fetchall()
            connection.execute("DELETE FROM seen_round_trips")
        return {row["box"]: row["round_trip_ms"] for row in rows}
