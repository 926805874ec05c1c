"""What every part of the hub works on: its settings, database, artefacts and clock."""

from dataclasses import dataclass
from datetime import UTC, datetime

from inspection.hub.artefacts import Artefacts
from inspection.hub.database import Database, open_database
from inspection.hub.news import News
from inspection.hub.opening import Opened
from inspection.hub.settings import HubConfig


@dataclass(frozen=True)
class Hub:
    """An open hub."""

    config: HubConfig
    database: Database
    artefacts: Artefacts
    news: News
    opened: Opened

    def now(self) -> datetime:
        """Give the hub's time, UTC."""
        return datetime.now(UTC)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


def open_hub(config: HubConfig) -> Hub:
    """Open what the settings name; the database's tables are brought up to date.

    Raises:
        ConfigError: the settings do not fit what is there.
        HubError: the database cannot be reached, or is of a newer program.
    """
    artefacts = Artefacts(config.artefacts)
    opened = Opened(artefacts, config.cache_dir, config.review.segmenter)
    return Hub(config, open_database(config), artefacts, News(), opened)
