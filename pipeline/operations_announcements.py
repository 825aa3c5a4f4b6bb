"""系统公告: staff writes them, everybody sees them, staff withdraws them. What was said is never changed."""

from __future__ import annotations

from pipeline.operations_errors import NotFound, Refused, person, words_of
from pipeline.store import announcements, history
from pipeline.store.engine import Transaction
from pipeline.store.queries_announcements import title_of

LONGEST_TITLE, LONGEST_TEXT = 100, 4000


def publish_announcement(tx: Transaction, title: str, text: str, actor: str) -> int:
    """Everybody sees it at once. Returns its id. Raises Refused."""
    title, text = words_of(title, "标题"), words_of(text, "内容")
    if len(title) > LONGEST_TITLE or len(text) > LONGEST_TEXT:
        raise Refused("too_long", f"标题不超过 {LONGEST_TITLE} 个字, 内容不超过 {LONGEST_TEXT} 个字")
    announcement_id = announcements.add(tx, title, text, person(actor))
    history.audit(tx, actor, "announcements.publish", str(announcement_id), title=title)
    return announcement_id


def withdraw_announcement(tx: Transaction, announcement_id: int, reason: str, actor: str) -> None:
    """Only staff sees it from now on. Raises NotFound, Refused."""
    reason, title = words_of(reason, "理由"), title_of(tx, announcement_id)
    if title is None:
        raise NotFound(f"没有公告 {announcement_id}")
    if not announcements.withdraw(tx, announcement_id, person(actor)):
        raise Refused("withdrawn", f"公告 {announcement_id} 已撤回")
    history.audit(tx, actor, "announcements.withdraw", str(announcement_id), title=title, reason=reason)
