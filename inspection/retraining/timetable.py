"""When the policy's clocks strike: cron times and blackouts, in the policy's time zone."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from inspection.retraining.settings import DAYS, Blackout, Policy

DAY = timedelta(days=1)
WEEK = 7 * DAY
INSTANT = timedelta(microseconds=1)


def cron_after(policy: Policy, after: datetime) -> datetime | None:
    """Give the first time of the policy's cron later than a time; none without cron.

    Weekday numbers begin with Monday as 0, unlike cron's own; names mean the same in both.
    """
    if policy.triggers.cron is None:
        return None
    trigger = CronTrigger.from_crontab(policy.triggers.cron, timezone=ZoneInfo(policy.timezone))
    found: datetime | None = trigger.get_next_fire_time(None, after + INSTANT)
    return None if found is None else found.astimezone(UTC)


def by_cron(policy: Policy, last: datetime, now: datetime) -> tuple[bool, str]:
    """Say whether the cron's time came since the last training, and in words."""
    came = cron_after(policy, last)
    if came is None:
        return False, "No time of the week triggers anything."
    if came > now:
        return False, f"The next time by cron is {on_clock(policy, came)}."
    return True, f"The time by cron came on {on_clock(policy, came)}."


def by_age(policy: Policy, last: datetime, now: datetime) -> tuple[bool, str]:
    """Say whether the last training is too old, and in words."""
    days = policy.triggers.age_days
    if days is None:
        return False, "No age triggers anything."
    if now - last < timedelta(days=days):
        return False, f"The last training is {(now - last).days} of {days} days old."
    return True, f"The last training is more than {days} days old."


def on_clock(policy: Policy, when: datetime) -> str:
    """Write a time as the clock on the policy's wall shows it."""
    return f"{when.astimezone(ZoneInfo(policy.timezone)):%a %Y-%m-%d %H:%M %Z}"


def blackout_ends(policy: Policy, now: datetime) -> datetime | None:
    """Say when something may begin again; none when it may now.

    Windows that follow one another are one. An hour that the clocks skip or repeat is black from
    its earliest reading to its latest.

    Args:
        policy: with the blackouts.
        now: aware.

    Returns:
        The end, UTC, at most a little over a week ahead; where the blackouts leave no time at all,
        it is inside one.
    """
    end = now
    while end < now + WEEK and (later := _end_of_cover(policy, end)) is not None:
        end = later
    return None if end == now else end


def _end_of_cover(policy: Policy, at: datetime) -> datetime | None:
    """Give the latest end of the windows a time lies in."""
    zone = ZoneInfo(policy.timezone)
    today = at.astimezone(zone).date()
    ends = [
        end
        for blackout in policy.blackouts
        for day in (today - DAY, today)
        if DAYS[day.weekday()] in blackout.days
        for begin, end in (_window(blackout, day, zone),)
        if begin <= at < end
    ]
    return max(ends, default=None)


def _window(blackout: Blackout, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Give begin and end, UTC, of the window that begins on a day."""
    last = day if blackout.end > blackout.begin else day + DAY
    return min(_readings(day, blackout.begin, zone)), max(_readings(last, blackout.end, zone))


def _readings(day: date, at: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Give both readings of a time on the wall, which differ where the clocks are changed."""
    local = datetime.combine(day, at, zone)
    return local.replace(fold=0).astimezone(UTC), local.replace(fold=1).astimezone(UTC)
