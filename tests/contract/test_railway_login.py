"""Logging in to 12306 as a contract: refusals by name, captchas, one session per account, 12306's clock."""

from __future__ import annotations

import pytest

from pipeline.errors import LoginRefused, SessionLost, UpstreamError
from tests.contract.railway_subjects import (
    ACCOUNT,
    HOLD,
    NOW,
    PASSWORD,
    SUBJECTS,
    ReadingSolver,
    Stage,
    Subject,
    WrongSolver,
)


@pytest.fixture(params=list(SUBJECTS.values()), ids=list(SUBJECTS))
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_a_wrong_password_is_refused_and_the_fourth_locks(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        reasons = []
        for _ in range(4):
            with pytest.raises(LoginRefused) as refused:
                await subject.railway.login(ACCOUNT, "another-one")
            reasons.append(refused.value.reason)
        assert reasons == ["wrong_password", "wrong_password", "wrong_password", "account_locked"]
        with pytest.raises(LoginRefused) as refused:
            await subject.railway.login(ACCOUNT, PASSWORD)
        assert refused.value.reason == "account_locked"

    stage.run(scenario)


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("wrong_password", "wrong_password"), ("account_locked", "account_locked")]
)
def test_a_login_is_refused_by_name(stage: Stage, behaviour: str, reason: str) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour=behaviour)
        with pytest.raises(LoginRefused) as refused:
            await subject.login()
        assert refused.value.reason == reason
        with pytest.raises(LoginRefused) as unknown:
            await subject.railway.login("nobody01", PASSWORD)
        assert unknown.value.reason == "wrong_password"

    stage.run(scenario)


def test_a_captcha_without_a_solver_ends_the_login_before_the_password(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="captcha")
        with pytest.raises(LoginRefused) as refused:
            await subject.login()
        assert refused.value.reason == "captcha_required"
        assert [line for line in subject.world.journal() if line["kind"] == "login"] == []

    stage.run(scenario)


def test_a_captcha_that_is_read_opens_the_login(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="captcha")
        session = await subject.login()
        assert len(await session.unpaid_orders()) == 1
        await session.close()

    stage.run(scenario, solver=ReadingSolver())


def test_a_captcha_that_is_misread_is_a_refused_login(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="captcha")
        with pytest.raises(LoginRefused) as refused:
            await subject.login()
        assert refused.value.reason == "captcha_required"

    stage.run(scenario, solver=WrongSolver())


def test_a_second_login_ends_the_first_session(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        first, second = await subject.login(), await subject.login()
        with pytest.raises(SessionLost):
            await first.unpaid_orders()
        with pytest.raises(SessionLost):
            await first.find_order(HOLD, around=NOW)
        with pytest.raises(SessionLost):
            await first.payment_form(HOLD)
        assert len(await second.unpaid_orders()) == 1
        await first.close()
        await second.close()

    stage.run(scenario)


def test_the_agents_own_login_ends_ours(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="session_taken_over")
        first = await subject.login()
        with pytest.raises(SessionLost):
            await first.unpaid_orders()
        await first.close()
        second = await subject.login()
        assert len(await second.unpaid_orders()) == 1
        await second.close()

    stage.run(scenario)


@pytest.mark.parametrize("skew_s", [0.0, 90.0, -90.0])
def test_12306s_clock_is_read_at_login(stage: Stage, skew_s: float) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        subject.world.set_clock({"skew_s": skew_s})
        session = await subject.login()
        assert session.skew_s == pytest.approx(skew_s, abs=1.5)
        await session.close()

    stage.run(scenario)


def test_every_error_names_its_upstream_and_no_secret(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="wrong_password")
        with pytest.raises(UpstreamError) as caught:
            await subject.login()
        assert caught.value.upstream == "railway"
        assert PASSWORD not in f"{caught.value!r} {caught.value}"

    stage.run(scenario)
