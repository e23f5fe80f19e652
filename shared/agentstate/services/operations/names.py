"""The services by name: six from the start, open for more; how long a state stays fresh, and shared balances.

`Service` is used like an enumeration. `registry.add_service` adds a seventh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar, Final, Self

from agentstate.errors import ConfigurationError, InvalidInput
from agentstate.ids import validate_name
from agentstate.money.ledger.postings import share_balance

_known: dict[str, Service] = {}
_ttl_s: dict[Service, float] = {}
_balance_of: dict[Service, Service] = {}


class _Names(type):
    """Lets the class be iterated over as an enumeration is."""

    def __iter__(cls) -> Iterator[Service]:
        return iter(tuple(_known.values()))

    def __len__(cls) -> int:
        return len(_known)


class Service(str, metaclass=_Names):
    """A financial service. `Service("casino")` is the one of that name; ValueError when there is none."""

    __slots__ = ()

    WALLET: ClassVar[Service]
    CASINO: ClassVar[Service]
    TRADING: ClassVar[Service]
    DOMAINS: ClassVar[Service]
    FAUCET: ClassVar[Service]
    ESCROW: ClassVar[Service]

    def __new__(cls, name: str) -> Self:
        """The known service of that name."""
        if name not in _known:
            raise ValueError(f"there is no service {name!r}")
        return _known[name]  # type: ignore[return-value]  # the class is not derived from

    def __reduce__(self) -> tuple[type[Service], tuple[str]]:
        return Service, (str(self),)

    @property
    def value(self) -> str:
        """The plain name."""
        return str.__str__(self)


TTL_S: Final[Mapping[Service, float]] = MappingProxyType(_ttl_s)
"""Seconds for which a reading counts as live."""


def declare_service(name: str, *, ttl_s: float, balance_of: str | None = None) -> Service:
    """Make a service known.

    Args:
        name: its name, as in `lottery.enter`.
        ttl_s: seconds for which a reading of it counts as live.
        balance_of: the service whose balance it uses, when it keeps none of its own.

    Raises:
        ConfigurationError: the name is taken, or a value is out of range.
    """
    if validate_name(name, "service") in _known or "." in name:
        raise ConfigurationError(f"the service name {name!r} is taken or has a dot.")
    if not 0 < ttl_s <= 86_400:  # noqa: PLR2004 a day
        raise ConfigurationError(f"service {name}: ttl_s={ttl_s} is refused; use up to a day.")
    service = str.__new__(Service, name)
    _known[name], _ttl_s[service] = service, ttl_s
    _balance_of[service] = parse_service(balance_of) if balance_of else service
    if balance_of:
        share_balance(name, balance_of)
    return service


def services_sharing_balance(service: Service) -> frozenset[Service]:
    """Return the services with the balance of `service`: an operation there makes the cached states of all out of date.

    Casino, escrow and faucet keep one balance between them, so each changes all three.
    """
    shared = _balance_of[service]
    return frozenset(each for each, balance in _balance_of.items() if balance == shared)


def parse_service(name: str) -> Service:
    """The service of that name; InvalidInput when there is none."""
    try:
        return Service(name)
    except ValueError:
        known = ", ".join(service.value for service in Service)
        raise InvalidInput(f"there is no service {name!r}; the services are {known}.") from None


Service.WALLET = declare_service("wallet", ttl_s=60.0)
Service.CASINO = declare_service("casino", ttl_s=10.0)
Service.TRADING = declare_service("trading", ttl_s=30.0)
Service.DOMAINS = declare_service("domains", ttl_s=300.0)
Service.FAUCET = declare_service("faucet", ttl_s=120.0, balance_of="casino")
Service.ESCROW = declare_service("escrow", ttl_s=15.0, balance_of="casino")
