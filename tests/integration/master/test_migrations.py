"""Migrations and models say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError

from common.errors import Conflict, Unavailable
from master.db.migrate import differences, downgrade, upgrade
from master.db.session import make_engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = make_engine(f"sqlite:///{tmp_path / 'test.db'}")
    yield made
    made.dispose()


def test_migrations_lead_to_the_tables_of_the_models(engine: Engine) -> None:
    upgrade(engine)
    assert differences(engine) == []


def test_migrations_can_be_taken_back_and_done_again(engine: Engine) -> None:
    upgrade(engine)
    downgrade(engine)
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    upgrade(engine)
    assert differences(engine) == []


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    upgrade(engine)
    assert differences(engine) == []


def test_references_are_checked_after_a_migration(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_the_database_of_a_newer_version_is_left_alone(engine: Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'f00d'"))
    with pytest.raises(Conflict, match="f00d"):
        upgrade(engine)


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(Unavailable, match="cannot be prepared"):
        upgrade(make_engine(f"sqlite:///{tmp_path / 'folder.db'}"))


def test_people_keep_whether_they_may_sign_in_through_a_migration_and_back(engine: Engine) -> None:
    upgrade(engine, "0007")
    with engine.begin() as connection:
        for name, active in (("ada", 1), ("bob", 0)):
            connection.execute(
                text("INSERT INTO users VALUES (:name, :name, 'x', 'user', :active, 0)"),
                {"name": name, "active": active},
            )
    upgrade(engine)
    with engine.connect() as connection:
        states = connection.execute(text("SELECT name, state FROM users ORDER BY name")).all()
    assert [tuple(row) for row in states] == [("ada", "active"), ("bob", "disabled")]
    downgrade(engine, "0007")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, active FROM users ORDER BY name")).all()
    assert [tuple(row) for row in rows] == [("ada", 1), ("bob", 0)]


def test_a_migrated_audit_log_lets_nobody_change_what_it_says(engine: Engine) -> None:
    upgrade(engine)
    entry = "INSERT INTO audit VALUES (1, 0, NULL, '', '', '', 'user.add', 'user:ada', '{}', '{}')"
    with engine.begin() as connection:
        connection.execute(text(entry))
    for change in ("UPDATE audit SET actor = 'bob'", "DELETE FROM audit"):
        with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
            connection.execute(text(change))
