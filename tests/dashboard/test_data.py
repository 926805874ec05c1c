"""The Data page: sets with counts, export, near duplicates, the empty hub."""

from inspection.hub.wire.models import DataSet, NearDuplicates
from inspection.hub.wire.people import Role
from tests.dashboard import drawn
from tests.dashboard.fake import FakeHub, opened


def plates(**more) -> DataSet:
    values = {
        "line": "line-1",
        "product": "plate",
        "parts": 200,
        "with_picture": 150,
        "reviewed": 40,
        "goods": 25,
        "defects": {"scratch": 10, "dent": 3},
        "unsure": 2,
        "masks": 4,
    }
    return DataSet.model_validate(values | more)


def stocked(*sets: DataSet) -> FakeHub:
    hub = FakeHub({("GET", "/v1/datasets"): sets})
    found = NearDuplicates(compared=40, pairs=(("event-1", "event-2", 0.9991),), note="")
    hub.answers["GET", "/v1/datasets/duplicates"] = found
    for number in (1, 2):
        hub.answers["GET", f"/v1/events/event-{number}"] = drawn.detail(number)
        hub.answers["GET", f"/v1/events/event-{number}/pictures/top.jpg"] = drawn.jpeg()
    return hub


def text(test) -> str:
    kinds = (test.markdown, test.caption, test.info, test.error, test.subheader)
    return "\n".join(one.value for kind in kinds for one in kind)


def test_each_set_of_the_line_is_shown_with_its_counts():
    """Sets of other lines are not; coverage says of how many."""
    test = opened("data", stocked(plates(), plates(line="line-2", product="ring"))).run()
    assert not test.exception
    assert [one.value for one in test.subheader] == ["plate"]
    assert [one.value for one in test.metric] == ["200", "150", "25", "13", "2"]
    assert [one.text for one in test.get("progress")] == [
        "40 of 200 parts reviewed (20.0%)",
        "4 of 13 reviewed defects with a mask drawn by a person (30.8%)",
    ]


def test_near_duplicates_are_looked_for_on_demand_and_shown_as_pairs():
    """Comparing takes time, so the page asks only when somebody wants to know."""
    hub = stocked(plates())
    test = opened("data", hub).run()
    assert not [one for one in hub.asked if one.url.path.endswith("duplicates")]
    test.button(key="data_duplicates_0").click().run()
    assert not test.exception
    assert "pairs that are too alike: 1" in text(test)
    assert "alike to 0.999" in text(test)
    before = len(hub.asked)
    test.run()
    assert len(hub.asked) == before + 1  # the sets; parts and pictures of pairs are kept


def test_who_may_not_export_sees_why():
    """The hub would refuse a viewer when the button is pressed, where no page can say so."""
    test = opened("data", stocked(plates()), Role.VIEWER).run()
    assert "Reviewers export" in text(test)
    assert not test.get("download_button")


def test_nothing_is_exported_before_a_part_is_reviewed():
    """An export of no part would be an empty ZIP."""
    nothing = plates(reviewed=0, goods=0, defects={}, unsure=0, masks=0)
    test = opened("data", stocked(nothing)).run()
    assert "Nothing to export before a part is reviewed" in text(test)
    assert "No defect was reviewed yet" in text(test)


def test_a_line_without_parts_says_where_they_come_from():
    """An empty hub is no error."""
    assert "Start a station whose outputs name this hub" in text(opened("data", stocked()).run())
