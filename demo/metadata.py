"""The metadata database of a ``RealAirflow``: made for it, read as text, deleted values included."""

import json
import secrets
from collections.abc import Iterator

from cryptography.fernet import Fernet
from sqlalchemy import Engine, NullPool, create_engine, inspect, make_url, text

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
        self._server = make_url(url)
        self._temporary: str | None = None
        if self._server.get_backend_name() == "postgresql":
            self._temporary = f"runctl_{secrets.token_hex(6)}"
            self._on_server(f'CREATE DATABASE "{self._temporary}"')
        own = self._server.set(database=self._temporary) if self._temporary else self._server
        self.url = own.render_as_string(hide_password=False)
        self._engine = create_engine(own, poolclass=NullPool)

    def close(self) -> None:
        """Drop the temporary database; connections that are still open do not hinder it."""
        if self._temporary:
            self._on_server(f'DROP DATABASE IF EXISTS "{self._temporary}" WITH (FORCE)')

    def _on_server(self, statement: str) -> None:
        engine: Engine = create_engine(self._server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))

    def keep_history(self) -> None:
        """Let the database note every value of the ``HISTORY`` columns from now on."""
        existing = inspect(self._engine)
        with self._engine.begin() as connection:
            connection.execute(text(f"CREATE TABLE {SEEN} (source TEXT, value TEXT)"))
            for table, columns in HISTORY.items():
                known = {column["name"] for column in existing.get_columns(table)}
                for column in known.intersection(columns):
                    for statement in self._note(table, column):
                        connection.execute(text(statement))

    def _note(self, table: str, column: str) -> Iterator[str]:
        name = f"{SEEN}_{table}_{column}"
        insert = f"INSERT INTO {SEEN} VALUES ('{table}.{column}', CAST(NEW.\"{column}\" AS TEXT));"  # noqa: S608
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
            with self._engine.connect() as connection:
                rows = connection.execute(text(f'SELECT * FROM "{table}"')).mappings().all()  # noqa: S608
            for row in rows:
                for column, value in row.items():
                    where = f"{row['source']} (history)" if table == SEEN else f"{table}.{column}"
                    if isinstance(value, str | bytes | dict | list):
                        yield where, self._readable(value)

    def _readable(self, value: str | bytes | dict[str, object] | list[object]) -> str:
        if isinstance(value, dict | list):
            return json.dumps(value)
        plain = value if isinstance(value, str) else value.decode(errors="replace")
        return self._fernet.decrypt(plain).decode() if plain.startswith("gAAAA") else plain
