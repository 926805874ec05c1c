"""Asks for jobs: when the policy finds one due, or a person wants one."""

from inspection.core.errors import HubError, InspectionError
from inspection.hub import jobs
from inspection.hub.challengers import POLICY
from inspection.hub.hub import Hub
from inspection.hub.refusals import NotThere
from inspection.hub.wire.retraining import Job, NewJob, PolicyWords
from inspection.retraining.facts import gather, request_of
from inspection.retraining.policy import Decision, decide
from inspection.retraining.settings import RetrainedProduct, RetrainingConfig


def ask_if_due(hub: Hub, config: RetrainingConfig, product: RetrainedProduct) -> Job | None:
    """Ask for what is due and may happen by itself; of several that do so at once, one does.

    Raises:
        InspectionError: the product's configuration or set cannot be read, or the hub is away.
    """
    facts = gather(hub, config, product)
    decision = decide(config.policy_of(product), facts, hub.now())
    if decision.kind is None or not decision.allowed:
        return None
    request = request_of(hub, product, decision.kind)
    return jobs.ask_after(hub, request, POLICY, decision.words, facts.newest)


def speak(hub: Hub, config: RetrainingConfig) -> tuple[PolicyWords, ...]:
    """Say what the policy says of every product now; what is wrong with one are its words.

    Raises:
        HubError: the hub is away.
    """
    return tuple(_words(hub, config, product) for product in config.products)


class RetrainingDesk:
    """What the hub's interface asks of the retraining beside it."""

    def __init__(self, hub: Hub, config: RetrainingConfig) -> None:
        self._hub, self._config = hub, config

    def start(self, new: NewJob, who: str) -> Job:
        """Ask for a job that a person wants, whatever the policy says.

        Raises:
            NotThere: the configuration does not name this product on this line.
            InspectionError: its configuration or set cannot be read, or the hub is away.
        """
        place = new.line, new.product
        named = {(one.line, one.product): one for one in self._config.products}
        if place not in named:
            raise NotThere(
                f"product '{new.product}' on line '{new.line}': is not in the configuration of the "
                "retraining; add it under products"
            )
        request = request_of(self._hub, named[place], new.kind)
        return jobs.ask(self._hub, request, who, new.comment)

    def policy(self) -> tuple[PolicyWords, ...]:
        """Say what the policy says of every product.

        Raises:
            HubError: the hub is away.
        """
        return speak(self._hub, self._config)


def _words(hub: Hub, config: RetrainingConfig, product: RetrainedProduct) -> PolicyWords:
    policy, now = config.policy_of(product), hub.now()
    try:
        decision = decide(policy, gather(hub, config, product), now)
    except HubError:
        raise
    except InspectionError as error:
        decision = Decision(None, f"Nothing can be decided: {error}", allowed=False)
    return PolicyWords(
        line=product.line,
        product=product.product,
        at=now,
        due=decision.kind,
        words=decision.words,
        allowed=policy.allowed.value,
    )
