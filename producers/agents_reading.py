"""From an agent's form to what it asks for: parameters, signature, and the password sealed before anything else sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.agent_asks import AgentAsk
from pipeline.requests import ErrCode, RequestKind
from pipeline.secret import Secret
from pipeline.vault import Sealer
from schemas import tts
from schemas.codes import NO_TICKET_REASONS
from schemas.tts_forms import Form, FormError
from schemas.tts_signature import PROCESS_PURCHASE, SIGNATURE, is_signed, need_pay_fields

MAX_PASSWORD = 256


class Refused(Exception):
    """The request is answered with this code; `detail` names a parameter at most, never a value."""

    def __init__(self, code: ErrCode, detail: str = "") -> None:
        super().__init__(code.value)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Rules:
    """How NEED_PAY's password travels, what seals it, and what makes a digest that nobody can guess passwords from.

    password_signed  right after `un`; else it is not part of the signature
    fingerprint      keyed, the same for the same content in every process of the door
    """

    password_parameter: str
    password_signed: bool
    vault_key: Sealer
    fingerprint: Callable[[Secret], str]


def required(form: Form, name: str) -> str:
    """Raises Refused."""
    try:
        text = form.get(name)
    except FormError as error:
        raise Refused(ErrCode.BAD_PARAMETER, str(error)) from None
    if not text.strip():
        raise Refused(ErrCode.BAD_PARAMETER, name)
    return text


def signing_key(form: Form, keys: Sequence[Secret], signed: tuple[str, ...]) -> Secret:
    """The one of these keys that the form is signed with. Raises Refused. The string that is hashed lives in here and nowhere
    else; every key is tried, so that the time tells nobody which one it was."""
    given = required(form, SIGNATURE)
    try:
        values = [form.get(name) for name in signed]
    except FormError as error:
        raise Refused(ErrCode.BAD_PARAMETER, str(error)) from None
    fitting = [key for key in keys if is_signed(given, key.reveal(), values)]
    if not fitting:
        raise Refused(ErrCode.BAD_SIGNATURE)
    return fitting[0]


def purchase_signed(form: Form, rules: Rules) -> tuple[str, ...]:
    """The order of signed fields of this 出票结果: only NEED_PAY has a password."""
    if required(form, "opt") != tts.NEED_PAY:
        return PROCESS_PURCHASE
    return need_pay_fields(rules.password_parameter if rules.password_signed else None)


def read_purchase(form: Form, rules: Rules) -> AgentAsk:
    """Raises Refused."""
    kind = tts.PURCHASE_FORMS.get(required(form, "opt"))
    if kind is None:
        raise Refused(ErrCode.UNKNOWN_OPERATION, "opt")
    read = _read(kind, form)
    if isinstance(read, tts.NeedPayForm):
        hold = next(iter(read.hold_numbers), None)
        return _pay(read, tts.NEED_PAY, form, rules, hold, read.stated_fen)
    if isinstance(read, tts.ConfirmForm):
        tickets = [ticket.model_dump(mode="json") for ticket in read.tickets]
        detail = {"tickets": tickets, "account": read.account or None}
        return AgentAsk(read.merchant_code, read.order_no, RequestKind.CONFIRM, detail=detail)
    detail = {
        "reason": read.reason,
        "words": NO_TICKET_REASONS[read.reason],
        "comment": read.comment,
        "passenger_reason": [one.model_dump(mode="json", by_alias=False) for one in read.passenger_reason],
    }
    return AgentAsk(read.merchant_code, read.order_no, RequestKind.NO_TICKET, detail=detail)


def read_go_pay(form: Form, rules: Rules) -> AgentAsk:
    """Raises Refused."""
    read = _read(tts.GoPayForm, form)
    return _pay(read, "GO_PAY", form, rules, None, read.price_fen)


def read_query(form: Form) -> tts.QueryOrdersForm:
    """Raises Refused."""
    if required(form, "type") not in (tts.WAIT_TICKET, tts.APPLY_REFUND):
        raise Refused(ErrCode.UNKNOWN_OPERATION, "type")
    return _read(tts.QueryOrdersForm, form)


def _read(kind: type[tts.FormT], form: Form) -> tts.FormT:
    try:
        return tts.read(kind, form)
    except FormError as error:
        detail = str(error)
    raise Refused(ErrCode.BAD_PARAMETER, detail)


def _pay(
    read: tts.NeedPayForm | tts.GoPayForm,
    asked: str,
    form: Form,
    rules: Rules,
    hold: str | None,
    stated_fen: int | None,
) -> AgentAsk:
    # 代付请求 has no password (wire-protocols A.5); a parameter of that name there is one of the unknown ones
    password = Secret(_password(form, rules.password_parameter) if asked == tts.NEED_PAY else "")
    content = "\0".join((asked, read.order_no, read.account, password.reveal(), hold or "", str(stated_fen)))
    digest = rules.fingerprint(Secret(content))
    return AgentAsk(
        read.merchant_code,
        read.order_no,
        RequestKind.NEED_PAY,
        login=read.account,
        password_sealed=rules.vault_key.seal(password) if password else None,
        hold=hold,
        stated_fen=stated_fen,
        digest=digest,
    )


def _password(form: Form, name: str) -> str:
    try:
        password = form.get(name)
    except FormError as error:
        raise Refused(ErrCode.BAD_PARAMETER, str(error)) from None
    if len(password) > MAX_PASSWORD:
        raise Refused(ErrCode.BAD_PARAMETER, name)
    return password
