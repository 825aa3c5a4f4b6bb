"""What can go wrong before a test has its service. Every text says what to do about it."""

from __future__ import annotations


class ProviderUnavailable(Exception):
    """This way of getting a service is not to be had here; the next one is tried. The text is the reason."""


class ServiceFailed(Exception):
    """A service was to be had and did not do as promised, or none was to be had at all: the run fails."""


class NotOurs(Exception):
    """A test wants to stop a service that this run did not start."""

    def __init__(self, service: str, variable: str) -> None:
        super().__init__(
            f"this test stops {service}, which belongs to someone else: ask for the fixture that may be stopped, or unset {variable}"
        )


def nothing_to_be_had(service: str, tried: list[tuple[str, str]], advice: str) -> ServiceFailed:
    """The failure that names every way that was tried, why it did not work, and what to do."""
    reasons = "\n".join(f"  - {way}: {reason}" for way, reason in tried)
    return ServiceFailed(f"no {service} to be had for the tests:\n{reasons}\n{advice}")
