"""The tables of an AIMQ database, by ``user_version``.

A queue and a job store share a file or have one each; the tables are the same. To change them,
add a script to ``tables/``; never change one that was released.
"""

from __future__ import annotations

import sqlite3
from importlib import resources
from typing import Final

from aimq.errors import SettingsError

#: "AIMQ" in ASCII, in the file's header: marks the file as ours.
APPLICATION_ID: Final = 0x41494D51


def _scripts() -> tuple[str, ...]:
    files = (resources.files("aimq.sqlite") / "tables").iterdir()
    found = sorted((file.name, file.read_text()) for file in files if file.name.endswith(".sql"))
    return tuple(script for _, script in found)


MIGRATIONS: Final = _scripts()


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring a database to the newest version, in one transaction. Safe in several processes.

    Args:
        connection: in autocommit mode.
        name: of the file, for messages.

    Raises:
        SettingsError: another program's database, or one of a newer AIMQ.
    """
    if version_of(connection, name) == len(MIGRATIONS):
        return
    with connection:  # commits, or rolls back
        connection.execute("BEGIN IMMEDIATE")
        for script in MIGRATIONS[version_of(connection, name) :]:
            for statement in script.split(";\n"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def version_of(connection: sqlite3.Connection, name: str) -> int:
    """Return the version of a database's tables, 0 when it has none. Changes nothing.

    Raises:
        SettingsError: another program's database, or one of a newer AIMQ.
    """
    version, application, tables = connection.execute(  # one statement: another may be migrating
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)"
        " FROM pragma_user_version, pragma_application_id"
    ).fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise SettingsError(f"{name} is another program's database; choose another file")
    if version > len(MIGRATIONS):
        raise SettingsError(
            f"{name} was written by a newer AIMQ (tables of version {version}, this one knows "
            f"{len(MIGRATIONS)}); upgrade, or choose another file"
        )
    return int(version)
