"""What an agent's program asks of us, once its form is read, checked and free of clear passwords; and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipeline.errors import DaifuError
from pipeline.requests import ErrCode, RequestKind
from pipeline.secret import Secret

Listing = Literal["WAIT_TICKET", "APPLY_REFUND"]


class DeskUnavailable(DaifuError):
    """It is not known to be stored; the agent may send the same again."""


@dataclass(frozen=True, slots=True)
class AgentAsk:
    """One NEED_PAY (or 代付请求), CONFIRM or NO_TICKET.

    kind             what is asked
    login            12306 account; of CONFIRM and NO_TICKET it is in `detail`
    password_sealed  under the vault's public key
    hold, stated_fen the held order and price that were named, None where none was
    digest           the same for the same content: tells a request that is sent again from a new one
    detail           what CONFIRM and NO_TICKET store with the order
    """

    agent: str
    order_no: str
    kind: RequestKind
    login: str = ""
    password_sealed: str | None = field(default=None, repr=False)
    hold: str | None = None
    stated_fen: int | None = None
    digest: str | None = None
    detail: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def actor(self) -> str:
        return f"agent:{self.agent}"


@dataclass(frozen=True, slots=True)
class AgentReply:
    """`{"ret":true}` where there is no code. `repeat`: nothing had to be done."""

    err_code: ErrCode | None = None
    words: str = ""
    repeat: bool = False


class Desk(Protocol):
    """What the agents' door works with. Each raises DeskUnavailable."""

    async def merchant_keys(self, code: str) -> tuple[Secret, ...]:
        """The keys that this agent may sign with, the current one first; none for an unknown agent."""

    async def ask(self, ask: AgentAsk, *, again: bool = False) -> AgentReply:
        """Decide and do, in one transaction; the answer stands once it is committed.

        `again`: the same bytes came before. It is decided all the same, but most likely nothing has to be done, so it waits a
        moment for others like it.
        """

    async def orders(self, agent: str, listing: Listing) -> list[dict[str, Any]]:
        """Order objects as QueryOrders shows them."""
