import pytest

from inspection.hub.wire.models import BundleRow, Choice, StationParity
from inspection.hub.wire.people import Role
from tests.dashboard.drawn import AT, BUNDLE, bundle
from tests.dashboard.fake import FakeHub, answered, opened

OTHER = "c" * 64
BUNDLES, CHOICES, PARITY = "/v1/bundles", "/v1/lines/line-1/choices", "/v1/parity"


def other(*, passed: bool = True) -> BundleRow:
    row = bundle()
    refusals = () if passed else ("AUROC fell by 0.1",)
    gate = row.gate.model_copy(update={"passed": passed, "refusals": refusals})
    return row.model_copy(update={"bundle_id": OTHER, "gate": gate, "chosen": (), "running": ()})


def choice(number: int, bundle_id: str, *, in_force: bool) -> Choice:
    return Choice(
        id=number,
        line="line-1",
        name="plate",
        bundle_id=bundle_id,
        chosen_at=AT,
        who="engineer-1",
        why="it is better",
        in_force=in_force,
    )


def shown(*rows: BundleRow, choices: tuple[Choice, ...] = (), role: Role = Role.ENGINEER):
    parity = StationParity(
        station="station-1",
        line="line-1",
        name="plate",
        bundle_id=OTHER,
        wanted=BUNDLE,
        agrees=False,
        trial=False,
        note="",
    )
    hub = FakeHub(
        {
            ("GET", BUNDLES): rows,
            ("GET", CHOICES): choices,
            ("GET", PARITY): (parity,),
            ("POST", CHOICES): choice(9, OTHER, in_force=True),
        }
    )
    test = opened("models", hub, role).run()
    assert not test.exception
    return hub, test


def text(test) -> str:
    return "\n".join(e.value for e in [*test.markdown, *test.info, *test.warning, *test.caption])


def keys(test) -> set[str]:
    return {button.key for button in test.button}


def test_a_hub_without_bundles_says_how_to_bring_one():
    """The empty state names the command."""
    hub, test = shown()
    assert "inspection hub bundle add" in text(test)
    assert len(hub.asked) == 1


def test_a_bundle_is_chosen_with_a_reason_after_a_question():
    """Nothing is sent before a reason stands there and the question is answered."""
    hub, test = shown(bundle(), other(), choices=(choice(1, BUNDLE, in_force=True),))
    test.button(key="choose").click().run()
    assert test.button(key="choose-confirm").disabled
    assert hub.calls("POST", CHOICES) == []
    answered(test, "choose", "choose-confirm", choose_why="glare")
    assert hub.calls("POST", CHOICES) == [{"bundle_id": OTHER, "comment": "glare"}]


def test_the_bundle_before_is_one_click_away():
    """Rolling back offers the latest other bundle that judged under this name."""
    before = (choice(3, BUNDLE, in_force=True), choice(2, BUNDLE, in_force=False))
    hub, test = shown(bundle(), other(), choices=(*before, choice(1, OTHER, in_force=False)))
    assert (
        test.button(key="roll-back-plate").label == "Roll back to plate cccccccccccc of 2026-03-04"
    )
    test.button(key="roll-back-plate").click().run()
    answered(test, "roll-back-plate", "choose-confirm", choose_why="glare")
    assert hub.calls("POST", CHOICES)[0]["bundle_id"] == OTHER


def test_a_first_choice_cannot_be_rolled_back():
    """There is nothing before it."""
    _, test = shown(bundle(), other(), choices=(choice(1, BUNDLE, in_force=True),))
    assert "roll-back-plate" not in keys(test)


def test_a_bundle_whose_gate_refused_cannot_be_chosen():
    """It says why."""
    _, test = shown(bundle(), other(passed=False), choices=(choice(1, BUNDLE, in_force=True),))
    assert test.button(key="choose").disabled
    assert "AUROC fell by 0.1" in text(test)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER])
def test_who_may_not_choose_sees_no_buttons(role: Role):
    """The evidence is for everybody."""
    choices = (choice(2, BUNDLE, in_force=True), choice(1, OTHER, in_force=False))
    _, test = shown(bundle(), other(), choices=choices, role=role)
    assert keys(test) == set()
    assert "Engineers and admins choose" in text(test)


def test_a_single_bundle_is_not_compared_with_itself():
    """One column, and no lists to pick from."""
    _, test = shown(bundle(), choices=(choice(1, BUNDLE, in_force=True),))
    assert test.dataframe[1].value.columns.tolist() == ["", "found"]
    assert not [one for one in test.selectbox if str(one.key).startswith("compare")]


def test_no_bundle_is_offered_beside_itself():
    """What is picked on the left leaves the list on the right."""
    _, test = shown(bundle(), other(), choices=(choice(1, BUNDLE, in_force=True),))
    test.selectbox(key="compare-left").set_value(OTHER).run()
    assert not test.exception
    assert test.selectbox(key="compare-right").value == BUNDLE


def test_evidence_stands_side_by_side_and_stations_against_the_choice():
    """The chosen one is on the left; a station that runs another one is named."""
    _, test = shown(other(), bundle(), choices=(choice(1, BUNDLE, in_force=True),))
    parity, evidence = (frame.value for frame in test.dataframe[:2])
    assert parity.iloc[0][["station", "stands"]].tolist() == ["station-1", "DIFFERS"]
    assert evidence.set_index("").loc["AUROC", "left"] == "0.9000 [0.8000, 0.9500]"
    assert test.selectbox(key="compare-left").value == BUNDLE
    assert test.selectbox(key="compare-right").value == OTHER


def test_a_bundle_that_promises_nothing_says_so():
    """As those of a line's first days."""
    row = bundle()
    card = row.card.model_copy(update={"certificate": None})
    _, test = shown(row.model_copy(update={"card": card}))
    evidence = test.dataframe[1].value.set_index("")
    promised = evidence.loc["false rejects, promised", "found"]
    assert promised == "none: the threshold is a first guess, nothing is rejected"
