"""The revisions that commands read from file names are those that Alembic reads from the files."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

import agentstate.store.migrations
from agentstate.store.migrate import is_known_revision, newest_revision


def test_a_revision_is_called_as_its_file() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(agentstate.store.migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == newest_revision()
    assert all(is_known_revision(script.revision) for script in scripts.walk_revisions())
