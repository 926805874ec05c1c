"""The dashboard in a real browser, with a real hub and a real station behind it."""

import json

import httpx
from playwright.sync_api import expect
from sqlalchemy import select

from inspection.core.decision import Band, Verdict
from inspection.hub.tables import corrections, reviews
from inspection.hub.wire.people import Role
from inspection.hub.wire.review import Decision, NewReview
from inspection.hub.wire.thresholds import NewThresholds
from tests.browser.conftest import part_of
from tests.browser.plant import LINE, OTHER_LINE, OTHER_STATION, STATION, screens, wait_for
from tests.station.events import event

PAGES = (
    "overview",
    "review",
    "defects",
    "thresholds",
    "models",
    "retraining",
    "data",
    "stations",
    "audit",
)


def decided(plant, reviewer: str) -> list:
    with plant.served.hub.database.reading() as connection:
        mine = select(reviews).where(reviews.c.reviewer == reviewer).order_by(reviews.c.id)
        return list(connection.execute(mine))


def arrived(plant, part: str) -> bool:
    return bool(plant.admin.events(part_id=part).items)


def test_a_wrong_password_is_refused_and_the_right_one_lets_in(plant, stranger):
    plant.served.person(Role.VIEWER, "vera")
    page = stranger.page
    page.get_by_label("Account").fill("vera")
    page.get_by_label("Password", exact=True).fill("not this one at all")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_text("wrong")).to_be_visible()
    stranger.shoot("login")
    stranger.log_in("vera")
    page.reload()  # a reload asks for no password
    expect(stranger.key("who")).to_be_visible()
    stranger.button("who").click()
    stranger.button("logout").click()
    expect(page.get_by_label("Account")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Account")).to_be_visible()


def test_tables_offer_no_download_and_pages_ask_the_dashboard_alone(plant, person):
    """A table's CSV would hold formulas; fonts, icons and statistics could come from elsewhere."""
    dora = person(Role.ADMIN, "dora")
    asked = []
    dora.page.on("request", lambda request: asked.append(request.url))
    for name in PAGES:
        dora.open(name)
    dora.open("stations")
    dora.page.get_by_test_id("stDataFrame").first.hover()
    expect(dora.page.get_by_role("button", name="Fullscreen").first).to_be_visible()
    expect(dora.page.get_by_role("button", name="Download as CSV")).to_have_count(0)
    own = (plant.dashboard, plant.dashboard.replace("http", "ws"), "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []


def test_ten_parts_are_reviewed_by_keyboard(plant, person):
    plant.bring(100, [0.6 + number / 100 for number in range(12)])
    wait_for(lambda: arrived(plant, "part-0111"), "the parts do not reach the hub")
    rita = person(Role.REVIEWER, "rita")
    rita.open("review")
    rita.shoot("review")
    pressed, seen = [], []
    for number in range(10):
        story = rita.page.get_by_text("Part part-").first
        expect(story).to_be_visible()
        part = part_of(story.inner_text())
        seen.append(part)
        key, decision = (("g", "good"), ("d", "defect"), ("u", "unsure"))[number % 3]
        rita.page.keyboard.press(key)
        pressed.append(decision)
        rita.page.get_by_text(f"Part {part} ").first.wait_for(state="detached")
        rita.settle()
    assert [row.decision for row in decided(plant, "rita")] == pressed
    assert len(set(seen)) == 10
    rita.page.keyboard.press("z")
    wait_for(lambda: decided(plant, "rita")[-1].decision == "undone", "nothing was undone")
    rita.shoot("review-undone")


def test_known_defects_are_named_and_held_against_reviewers(plant, person):
    """On the part with mask and type, as a filter of the queue, and on a page of their own."""
    plant.bring(600, [0.95] * 4, green=210)
    plant.bring(610, [0.95] * 2, blue=230)
    wait_for(lambda: arrived(plant, "part-0611"), "the parts do not reach the hub")
    reviewer = plant.served.person(Role.REVIEWER, "rolf")
    events = {row.part_id: row for row in reviewer.events(line="line-1", limit=100).items}
    assert set(events["part-0611"].types) == {"crack"}
    for name, said in (("0600", "pore"), ("0601", "pore"), ("0602", "dent"), ("0610", "crack")):
        decided_ = NewReview(decision=Decision.DEFECT, defect=said, revision=0)
        reviewer.review(events[f"part-{name}"].event_id, decided_)
    nora = person(Role.REVIEWER, "nora")
    nora.open("review")
    nora.key("review_only_type").locator("input").click()
    nora.page.get_by_role("option", name="crack").click()
    expect(nora.page.get_by_text("Part part-0611").first).to_be_visible()
    expect(nora.page.get_by_text("Known defects:").first).to_be_visible()
    expect(nora.page.locator(".layers .named").first).to_be_visible()
    nora.shoot("review-known-defects")
    nora.open("defects")
    expect(nora.page.get_by_text("Against reviewers")).to_be_visible()
    expect(
        nora.page.get_by_text("part-0611").or_(nora.page.get_by_text("part-0603"))
    ).not_to_have_count(0)
    nora.shoot("defects")
    nora.page.mouse.wheel(0, 900)
    nora.shoot("defects-below")


def test_two_people_decide_the_same_part_and_the_second_is_told(plant, person):
    token = plant.served.station_token(OTHER_STATION, OTHER_LINE)
    own = {"line": OTHER_LINE, "station": OTHER_STATION, "event_id": "f" * 32, "part_id": "one"}
    record = event(1, Verdict.REVIEW, **own).model_dump(mode="json")
    record["frames"][0] |= {"image": "one.png", "score": 0.7}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{plant.served.url}/v1/events"
    stored = httpx.post(url, content=json.dumps([record]), headers=headers)
    assert stored.json() == {"stored": 1, "refused": []}
    rita, otto = person(Role.REVIEWER, "rita2"), person(Role.REVIEWER, "otto")
    for somebody in (rita, otto):
        somebody.open("review", OTHER_LINE)
        expect(somebody.page.get_by_text("Part one").first).to_be_visible()
    rita.page.keyboard.press("g")
    wait_for(lambda: decided(plant, "rita2"), "her decision does not arrive")
    otto.page.keyboard.press("d")
    conflict = otto.key("review_conflict")
    expect(conflict).to_contain_text("rita2")
    expect(conflict).to_contain_text("good")
    otto.shoot("review-conflict")
    assert decided(plant, "otto") == []
    otto.button("review_on_top").click()
    wait_for(lambda: decided(plant, "otto"), "his decision does not arrive")
    assert [row.decision for row in decided(plant, "rita2")] == ["good"]
    assert decided(plant, "otto")[0].revision == 2


def test_a_band_is_moved_applied_used_by_the_station_and_taken_back(plant, person):
    plant.bring(200, [0.52, 0.6, 0.7, 0.3])
    wait_for(lambda: arrived(plant, "part-0203"), "the parts do not reach the hub")
    before = plant.judges_with()
    eve = person(Role.ENGINEER, "eve")
    eve.open("thresholds")
    box = eve.key("thresholds_review_above").get_by_role("spinbutton")
    box.fill("0.65")
    box.press("Enter")
    eve.settle()
    expect(eve.key("thresholds_consequences")).to_contain_text("False rejects per shift")
    expect(eve.page.get_by_text("REVIEW → PASS").first).to_be_visible()
    eve.shoot("thresholds")
    eve.key("thresholds_comment").get_by_role("textbox").fill("glare since the new lamp")
    eve.button("thresholds_apply").click()
    took_s = wait_for(lambda: plant.judges_with()[1] == 0.65, "the station does not use it")
    assert took_s < 5
    expect(eve.page.get_by_text("stations judge by it").first).to_be_visible()
    eve.shoot("thresholds-applied")
    eve.button("thresholds_revert_0").click()
    eve.button("thresholds_revert_confirm_0").click()
    wait_for(lambda: plant.judges_with()[1:] == before[1:], "the band before does not return")


def test_thresholds_beyond_their_limits_take_two_people_and_the_lamp_says_so(plant, person):
    before = plant.judges_with()
    eve, bob = plant.served.person(Role.ENGINEER, "eve-4"), person(Role.ENGINEER, "bob-4")
    row = next((row for row in eve.thresholds(LINE) if row.bundle_id == before[0]), None)
    eve.propose_thresholds(
        LINE,
        NewThresholds(
            bundle_id=before[0],
            band=Band(review_above=500, reject_above=500),
            stations=(STATION,),
            comment="new material",
            previous=row and row.sha256,
        ),
    )
    assert plant.judges_with() == before
    bob.open("thresholds")
    expect(bob.page.get_by_text("Waiting for a second person")).to_be_visible()
    bob.shoot("thresholds-approve")
    bob.button("thresholds_approve_1").click()
    bob.settle()
    bob.shoot("thresholds-approved")
    wait_for(lambda: plant.judges_with()[1] == 500, "the station does not use it")
    plant.bring(250, [0.9])
    wait_for(lambda: arrived(plant, "part-0250"), "the part does not reach the hub")
    lamp = bob.page.context.new_page()
    lamp.goto(plant.lamp)
    expect(lamp.locator("#override")).to_contain_text("set by eve-4, approved by bob-4")
    if folder := screens():
        lamp.screenshot(path=folder / "station-override.jpg", type="jpeg", quality=80)
    lamp.close()
    bob.open("thresholds")
    bob.button("thresholds_revert_0").click()
    bob.button("thresholds_revert_confirm_0").click()
    wait_for(lambda: plant.judges_with()[1:] == before[1:], "the band before does not return")


def test_a_mask_is_corrected_with_three_clicks(plant, person):
    plant.bring(300, [0.9])
    wait_for(lambda: arrived(plant, "part-0300"), "the part does not reach the hub")
    cora = person(Role.REVIEWER, "cora")
    cora.open("review")
    expect(cora.page.get_by_text("Part part-").first).to_be_visible()
    cora.key("review_correct").locator("label").click()
    canvas = cora.page.frame_locator("iframe").locator("img")
    for x, y in ((200, 100), (230, 120), (180, 130)):
        canvas.click(position={"x": x, "y": y})
        cora.settle()
    cora.shoot("review-correct")
    cora.button("correct_save").click()

    def kept():
        with plant.served.hub.database.reading() as connection:
            return list(
                connection.execute(select(corrections).where(corrections.c.reviewer == "cora"))
            )

    wait_for(kept, "the mask is not kept")


def test_a_bundle_is_rolled_back_and_the_station_follows(plant, person):
    wait_for(lambda: plant.judges_with()[0] == plant.newer, "the newer bundle does not judge")
    eve = person(Role.ENGINEER, "eve2")
    eve.open("models")
    eve.shoot("models")
    eve.page.get_by_role("button", name="Roll back to").click()
    eve.page.get_by_label("Why").fill("too many false rejects since yesterday")
    eve.page.get_by_label("Why").press("Tab")
    eve.button("choose-confirm").click()
    wait_for(lambda: plant.judges_with()[0] == plant.older, "the older bundle does not judge")
    plant.bring(400, [0.2])
    wait_for(lambda: arrived(plant, "part-0400"), "no part is judged by it")
    eve.shoot("models-rolled-back")
    eve.page.get_by_role("button", name="Roll back to").click()  # and forward again, for others
    eve.page.get_by_label("Why").fill("the lamp it was")
    eve.page.get_by_label("Why").press("Tab")
    eve.button("choose-confirm").click()
    wait_for(lambda: plant.judges_with()[0] == plant.newer, "the newer bundle does not return")


def test_every_page_opens_without_an_error_and_fits_its_window(plant, person):
    plant.bring(500, [0.2, 0.6, 0.9])
    wait_for(lambda: arrived(plant, "part-0502"), "the parts do not reach the hub")
    ada = person(Role.ADMIN, "ada2")
    for name in PAGES:
        ada.open(name)
        expect(ada.page.locator('[data-testid="stAlertContentError"]')).to_have_count(0)
        wide = ada.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} px wider than its window"
        ada.shoot(f"page-{name}")
