"""The metadata database of a ``RealAirflow``: made for it, read as text, deleted values included."""

import json
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import LargeBinary, MetaData, Table, and_, create_engine, inspect, text
from sqlalchemy.engine import RowMapping, make_url
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine

from demo import guard

# Where secrets pass through and are gone when a test looks: Airflow drops a trigger as soon as it has fired
# and the XComs of an attempt when the next one starts. The database itself notes what these columns hold.
HISTORY = {
    "callback": ["data", "output"],
    "rendered_task_instance_fields": ["rendered_fields"],
    "task_instance": ["next_kwargs"],
    "task_state_store": ["value"],
    "trigger": ["kwargs"],
    "xcom": ["value"],
}
SEEN = "runctl_seen"
# The source of the Dags, the connections themselves: whoever reads these may see what is in them.
NOT_A_LEAK = {"connection", "dag_code"}


class Metadata:
    """A database for one Airflow.

    :param url: SQLAlchemy URL of an SQLite file, or of a PostgreSQL database next to which a temporary one is
        made
    :param fernet_key: the key that Airflow encrypts trigger arguments with
    """

    def __init__(self, url: str, fernet_key: str) -> None:
        self._fernet = Fernet(fernet_key)
        server = make_url(url)
        self._server_url = url
        self._temporary: str | None = None
        if server.get_backend_name() == "postgresql":
            self._temporary = f"runctl_{secrets.token_hex(6)}"
            engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f'CREATE DATABASE "{self._temporary}"'))
        own = server.set(database=self._temporary) if self._temporary else server
        self.url = own.render_as_string(hide_password=False)
        self._engine = create_engine(own, poolclass=NullPool)

    def close(self) -> None:
        """Drop the temporary database, if it is one."""
        if self._temporary:
            guard.drop_database(self._server_url, self._temporary)

    @property
    def guarded(self) -> dict[str, str]:
        """What the guard is told in its environment, to drop the database when nobody else does."""
        return {guard.SERVER: self._server_url, guard.DATABASE: self._temporary} if self._temporary else {}

    def rows(self, statement: str, **values: object) -> Sequence[RowMapping]:
        """Return what a SELECT finds."""
        with self._engine.connect() as connection:
            return connection.execute(text(statement), values).mappings().all()

    def change(self, statement: str, **values: object) -> None:
        """Run a statement that changes rows."""
        with self._engine.begin() as connection:
            connection.execute(text(statement), values)

    def set_xcom(self, dag_id: str, run_id: str, *, value: object, **which: str | int) -> None:
        """Create or replace the XCom with this ``task_id``, ``map_index`` and ``key``."""
        (run,) = self.rows(
            "SELECT id FROM dag_run WHERE dag_id = :dag_id AND run_id = :run_id", dag_id=dag_id, run_id=run_id
        )
        table = Table("xcom", MetaData(), autoload_with=self._engine, resolve_fks=False)
        is_bytes = isinstance(table.c.value.type, LargeBinary)
        row = {
            **which,
            "dag_id": dag_id,
            "run_id": run_id,
            "dag_run_id": run["id"],
            "value": json.dumps(value).encode() if is_bytes else value,
            "timestamp": datetime.now(UTC),
        }
        same = and_(table.c.dag_run_id == run["id"], *(table.c[name] == is_it for name, is_it in which.items()))
        with self._engine.begin() as connection:
            connection.execute(table.delete().where(same))
            connection.execute(table.insert().values(row))

    def keep_history(self) -> None:
        """Let the database note every value of the ``HISTORY`` columns from now on."""
        existing = inspect(self._engine)
        with self._engine.begin() as connection:
            connection.execute(text(f"CREATE TABLE {SEEN} (source TEXT, value TEXT)"))
            for table in set(existing.get_table_names()).intersection(HISTORY):
                for column in existing.get_columns(table):
                    if column["name"] in HISTORY[table]:
                        for statement in self._note(table, column["name"], column["type"]):
                            connection.execute(text(statement))

    def _note(self, table: str, column: str, kind: TypeEngine[Any]) -> Iterator[str]:
        name = f"{SEEN}_{table}_{column}"
        # PostgreSQL would write bytes (XComs before Airflow 3) as hexadecimal digits.
        is_bytea = isinstance(kind, LargeBinary) and self._temporary
        value = f"encode(NEW.\"{column}\", 'escape')" if is_bytea else f'CAST(NEW."{column}" AS TEXT)'
        insert = f"INSERT INTO {SEEN} VALUES ('{table}.{column}', {value});"  # noqa: S608
        if self._temporary:
            yield (f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {insert} RETURN NEW; END $$")
            action = f"FOR EACH ROW EXECUTE FUNCTION {name}()"
        else:
            action = f"BEGIN {insert} END"
        yield f'CREATE TRIGGER {name}_insert AFTER INSERT ON "{table}" {action}'
        yield f'CREATE TRIGGER {name}_update AFTER UPDATE OF "{column}" ON "{table}" {action}'

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield (table.column, text) of every text there is and, for the ``HISTORY`` columns, ever was."""
        for table in inspect(self._engine).get_table_names():
            if table in NOT_A_LEAK:
                continue
            for row in self.rows(f'SELECT * FROM "{table}"'):  # noqa: S608
                for column, value in row.items():
                    where = f"{row['source']} (history)" if table == SEEN else f"{table}.{column}"
                    # Bytes of PostgreSQL come as memoryview.
                    value = bytes(value) if isinstance(value, memoryview) else value
                    if isinstance(value, str | bytes | dict | list):
                        yield where, self._readable(value)

    def _readable(self, value: str | bytes | dict[str, object] | list[object]) -> str:
        if isinstance(value, dict | list):
            return json.dumps(value)
        plain = value if isinstance(value, str) else value.decode(errors="replace")
        return self._fernet.decrypt(plain).decode() if plain.startswith("gAAAA") else plain
