"""The stores of one site, as the server and the command line both open them."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sipgate.config import Configuration
from sipgate.register.exclusions_file import FileLine, read_exclusions
from sipgate.register.register import Register
from sipgate.service.clock import SteadyClock
from sipgate.vault.journal_file import Journal
from sipgate.vault.vault import Vault


@dataclass(frozen=True)
class Stores:
    """Open stores. Several processes may have the same ones open."""

    configuration: Configuration
    register: Register
    vault: Vault
    journal: Journal
    journal_key: Ed25519PrivateKey
    now_ns: SteadyClock

    def file_lines(self) -> tuple[FileLine, ...]:
        """The exclusions file's rows; ConfigurationError names file and line."""
        path = self.configuration.lines.exclusions_file
        return read_exclusions(path, self.configuration.site.country) if path is not None else ()


def open_stores(configuration: Configuration) -> Stores:
    """Open, and at the first time make, what the configuration names. Raises StoreError naming the path."""
    vault = Vault(configuration.store.data, configuration.store.keys)
    register = Register(
        f"sqlite:///{configuration.store.data / 'register.db'}",
        secret=vault.secret("register"),
        country=configuration.site.country,
    )
    register.migrate()
    key = Ed25519PrivateKey.from_private_bytes(vault.secret("journal"))
    journal = Journal(configuration.store.data / "journal", key)
    return Stores(configuration, register, vault, journal, key, SteadyClock())
