"""The page on which a person looks at parts, the most valuable first, and decides by key."""

import streamlit as st

from inspection.core.errors import HubError
from inspection.dashboard.parts import errors, forgetting, formats, named, outline, session, viewer
from inspection.dashboard.parts.decisions import Desk, Shown, said
from inspection.dashboard.parts.formats import plain
from inspection.hub.client import HubClient
from inspection.hub.wire.people import Role
from inspection.hub.wire.review import Decision, Look, QueueItem, Review, ReviewSummary, Why

DESK = "review desk"
PICTURE_VH = 58  # leaves room for the header and the controls at 768 px
TYPE_KEYS = 9
KAPPA = ((0.8, "almost perfect"), (0.6, "substantial"), (0.4, "moderate"), (0.2, "fair"))
REASONS = {
    Why.SHADOW: "the bundle in the shadow would let it go another way; who is right decides",
    Why.NEAR_BAND: "its score lies near the band, where a decision teaches the most",
    Why.NOVEL: "its score lies farther out than that of any part reviewed so far",
    Why.DISAGREEING: "two people, or a person and the verdict, do not agree on it",
    Why.SAMPLED_PASS: "drawn at random from parts that passed, to count what escapes",
    Why.KNOWN: "known defects hold it though its score is low, or nobody looked for them in time",
    Why.REJECTED: "the line rejected it",
    Why.FAULT: "nobody could judge it",
    Why.SECOND: "a second pair of eyes; what was decided before is not shown",
}


def page() -> None:
    """Show the next part, what explains it, and the decisions."""
    line = session.line()
    if not line:
        st.info("The hub knows no line yet. Enrol a station on the page Stations.")
        return
    hub = session.hub()
    summary = hub.review_summary(line)
    _where_it_stands(summary)
    if not session.may(Role.REVIEWER):
        st.info(f"Your role is {session.me().role}. Reviewers decide on parts; ask an admin.")
        return
    desk = _desk(line)
    desk.learn(_by_count(summary))
    named.choose_type(hub, desk)
    desk.fill(hub)
    viewer.styles()
    if desk.waiting:
        _part(hub, desk, desk.waiting[0])
    else:
        _nothing_waits(hub, desk)
    if len(desk.waiting) > 1:  # the next one is there when its turn comes
        desk.show(hub, desk.waiting[1].event_id)


def _desk(line: str) -> Desk:
    desk = st.session_state.get(DESK)
    if not isinstance(desk, Desk) or desk.line != line:
        desk = st.session_state[DESK] = Desk(line)
    return desk


def _by_count(summary: ReviewSummary) -> list[str]:
    return sorted(summary.defects, key=lambda name: -summary.defects[name])


def _where_it_stands(summary: ReviewSummary) -> None:
    texts = [
        f"**Waiting: {summary.waiting}.** Reviewed: {summary.reviewed}, "
        + (", ".join(f"{n} {name}" for name, n in summary.decisions.items() if n) or "none yet")
        + ".",
        agreement(summary),
        escapes(summary),
    ]
    with st.container(key="review_summary"):
        for column, text in zip(st.columns([4, 5, 6]), texts, strict=True):
            column.caption(text)


def agreement(summary: ReviewSummary) -> str:
    """Say how far two people decide alike, in the words of Landis and Koch (1977)."""
    pairs = summary.agreement
    if not pairs.pairs:
        return "No part was looked at by two people yet."
    text = f"Two people agreed on **{pairs.agreed} of {pairs.pairs}** parts"
    if pairs.kappa is None:
        return f"{text}; too few to say what chance alone would give."
    word = next((word for least, word in KAPPA if pairs.kappa > least), "slight")
    word = word if pairs.kappa > 0 else "no better than chance"
    return f"{text}; beyond chance {pairs.kappa:.2f} (kappa), {word}."


def escapes(summary: ReviewSummary) -> str:
    """Say what the sampled PASS parts tell of defects that pass."""
    rate = summary.escapes
    if not rate.of:
        return f"Escapes: not known yet; of {summary.sampled} PASS parts drawn none is decided."
    return (
        f"Escapes: **{formats.percent(rate.value)}** of passed parts ({formats.interval(rate)}); "
        f"{rate.count} defects among {rate.of} drawn at random."
    )


def _nothing_waits(hub: HubClient, desk: Desk) -> None:
    _note(desk)
    if desk.skipped:
        st.success(f"Nothing else waits; you skipped {formats.counted(len(desk.skipped), 'part')}.")
        st.button("Look at the skipped parts", key="review_again_skipped", on_click=desk.look_again)
    elif desk.only:
        st.success(f"Nothing with {plain(desk.only)} waits for review on this line.")
    else:
        st.success(
            "Nothing waits for review on this line. Parts come here when a score lies near the "
            "band, when the line rejects, and by a random draw of those that pass."
        )
    _undo_button(hub, desk, st.container(horizontal=True))


def _part(hub: HubClient, desk: Desk, item: QueueItem) -> None:
    camera = st.session_state.get(f"review_camera-{item.event_id}")
    shown = desk.show(hub, item.event_id, camera)
    desk.learn(shown.frame.recognised.counts if shown.frame.recognised else ())
    left, right = st.columns([1.7, 1], gap="medium")
    story = right.container()
    with right:  # first the buttons: who sees the part can decide on it
        if desk.clash is not None:
            _conflict(hub, desk)
        else:
            _decisions(hub, desk, item)
        _explanation(shown)
    with story:
        _story(item, shown)
    with left:
        if st.session_state.get(f"review_correct-{_id(item)}"):
            outline.editor(hub, desk, shown)
        else:
            _picture(shown)
        _below(shown, item)


def _story(item: QueueItem, shown: Shown) -> None:
    row = shown.detail.row
    st.markdown(
        f"**Part {plain(item.part_id)}** · {plain(item.product)} · {plain(item.station)}  \n"
        f"{formats.clock(item.captured_at)} · {formats.ICONS[row.verdict]} {row.verdict}"
    )
    with st.container(key="review_why"):
        st.markdown(f"**{str(item.why).capitalize()}:** {REASONS[item.why]}.")
    frame = shown.frame
    if frame.score is not None and frame.band is not None:
        viewer.gauge(frame.score, frame.band)
    if reason := frame.reason or shown.detail.event.reason:
        st.caption(plain(reason))
    if frame.recognised is not None:
        st.caption(named.in_words(frame.recognised))
    if fusion := shown.detail.event.fusion:
        lacking = f"; {fusion.lacking}" if fusion.lacking else ""
        st.caption(plain(f"{fusion.frames} frames, {fusion.kind}; this is {frame.view}{lacking}"))
    if not item.second:
        for review in shown.detail.reviews:
            words = f"{review.reviewer} said '{said(review)}' {review.comment}"
            st.caption(f"{formats.clock(review.at)}: {plain(words)}")


def _decisions(hub: HubClient, desk: Desk, item: QueueItem) -> None:
    """Draw the buttons; a key of this very part, so that a second press decides no other one."""
    _note(desk)
    row = st.container(horizontal=True, gap="small")
    for name, decision, key in (
        ("Good", Decision.GOOD, "g"),
        ("Defect", Decision.DEFECT, "d"),
        ("Unsure", Decision.UNSURE, "u"),
    ):
        with row.container(key=f"review_{decision}", width="content"):
            st.button(
                name,
                key=f"review_{decision}-{_id(item)}",
                shortcut=key,
                type="primary",
                on_click=_decide,
                args=(hub, desk, item, decision),
            )
    types = st.container(horizontal=True, gap="small")
    for number, name in enumerate(desk.types[:TYPE_KEYS], 1):
        with types.container(key=f"review_type_{number}", width="content"):
            st.button(
                plain(name),
                key=f"review_type_{number}-{_id(item)}",
                shortcut=str(number),
                on_click=_decide,
                args=(hub, desk, item, Decision.DEFECT, name),
            )
    moves = st.container(horizontal=True, gap="small")
    with moves.container(key="review_next", width="content"):
        st.button(
            "Next",
            key=f"review_next-{_id(item)}",
            shortcut="n",
            on_click=desk.skip,
            args=(item,),
        )
    _undo_button(hub, desk, moves)
    place = moves.container(key="review_more", width="content")
    with place.popover("Other type, comment", key=f"review_more-{_id(item)}"):
        _other_type(hub, desk, item)


def _note(desk: Desk) -> None:
    if desk.note:
        st.warning(plain(desk.note))
        desk.note = ""


def _other_type(hub: HubClient, desk: Desk, item: QueueItem) -> None:
    st.text_input(
        "Comment, kept with the decision", key=f"review_comment-{_id(item)}", max_chars=1000
    )
    with st.form(f"review_other-{_id(item)}", border=False):
        st.text_input("Another type of defect", key=f"review_new_type-{_id(item)}", max_chars=64)
        st.form_submit_button(
            "Defect of this type",
            key=f"review_defect_new-{_id(item)}",
            on_click=_decide_new,
            args=(hub, desk, item),
        )


def _undo_button(hub: HubClient, desk: Desk, place: st.delta_generator.DeltaGenerator) -> None:
    last = desk.done[-1][1] if desk.done else None
    key = f"{last.event_id}-{last.second}-{last.revision}" if last else "none"
    with place.container(key="review_undo", width="content"):
        st.button(
            plain(f"Undo '{said(last)}'") if last else "Undo",
            key=f"review_undo-{key}",
            shortcut="z",
            disabled=last is None,
            on_click=_undo,
            args=(hub, desk, last),
        )


def _conflict(hub: HubClient, desk: Desk) -> None:
    """Show who decided what meanwhile; nothing of either is lost."""
    if (clash := desk.clash) is None:
        return
    theirs = clash.current
    if clash.item.second and theirs.reviewer != session.me().account:
        with st.container(key="review_conflict"):
            st.warning(
                f"**{plain(theirs.reviewer)}** made the second review of part "
                f"{plain(clash.item.part_id)} while you looked at it. One is enough, so yours was "
                "not taken."
            )
            st.button("Go on", key="review_keep", shortcut="k", on_click=desk.keep_theirs)
        return
    comment = f" ({plain(theirs.comment)})" if theirs.comment else ""
    with st.container(key="review_conflict"):
        st.warning(
            f"**{plain(theirs.reviewer)}** decided '**{plain(said(theirs))}**'{comment} on part "
            f"{plain(clash.item.part_id)} at {formats.clock(theirs.at)}, while you looked at it. "
            f"You said '**{plain(said(clash.wanted))}**'; nothing was changed yet."
        )
        row = st.container(horizontal=True)
        row.button("Keep theirs", key="review_keep", shortcut="k", on_click=desk.keep_theirs)
        row.button(
            "Put mine on top",
            key="review_on_top",
            shortcut="t",
            type="primary",
            on_click=_on_top,
            args=(hub, desk),
        )


def _explanation(shown: Shown) -> None:
    if shown.look is not None:
        viewer.patches(shown.look)
    if shown.note and shown.picture is not None:
        st.caption(f"Not shown: {plain(shown.note)}")


@st.fragment
def _picture(shown: Shown) -> None:
    if shown.picture is None:
        st.info(plain(f"Part {shown.detail.event.part_id}: {shown.note}."))
        return
    with st.container(key="review_picture"):
        viewer.layers(shown.picture, shown.look, PICTURE_VH, layer := named.drawn(shown))
    if shown.look is None:
        return
    heat, coarse, refined, known = st.columns([3, 2, 2, 2], vertical_alignment="bottom")
    opacity = heat.slider(
        "Heat", 0, 100, 40, format="%d %%", key="review_opacity", persist_state="session"
    )
    viewer.strengths(
        opacity / 100,
        coarse=coarse.toggle(":orange[Coarse mask]", key="review_coarse", persist_state="session"),
        refined=refined.toggle(
            ":blue[Refined mask]",
            value=True,
            key="review_refined",
            persist_state="session",
            help=_drawn_by(shown.look),
        ),
        known=layer is not None
        and known.toggle(
            ":violet[Known defects]", value=True, key="review_named", persist_state="session"
        ),
    )


def _drawn_by(look: Look) -> str | None:
    """Say whose the refined mask is; nothing where nobody drew one."""
    if look.corrected_by:
        return f"Drawn by {plain(look.corrected_by)}."
    if not look.segmenter:
        return None
    return f"By {plain(look.segmenter)}; where it is not believed the coarse mask stays."


def _below(shown: Shown, item: QueueItem) -> None:
    row = st.container(horizontal=True, vertical_alignment="center")
    if len(shown.cameras) > 1:
        row.segmented_control(
            "Camera",
            shown.cameras,
            default=shown.frame.view,
            required=True,
            key=f"review_camera-{item.event_id}",
            format_func=plain,
            label_visibility="collapsed",
        )
    place = row.container(key="review_correct", width="content")
    place.toggle("Correct the mask", key=f"review_correct-{_id(item)}")
    if row.button("Enlarge", key="review_enlarge", shortcut="e", disabled=shown.picture is None):
        _enlarged(shown)
    if shown.picture is not None:
        forgetting.button(shown.detail.event.event_id, shown.frame.image or "", row)


@st.dialog("The picture as it was stored", width="large")
def _enlarged(shown: Shown) -> None:
    with errors.shown():
        name = shown.frame.image or ""
        st.image(session.hub().picture(shown.detail.event.event_id, name), width="stretch")


def _id(item: QueueItem) -> str:
    return f"{item.event_id}-{item.second}-{item.revision}"


def _decide(
    hub: HubClient, desk: Desk, item: QueueItem, decision: Decision, defect: str | None = None
) -> None:
    with errors.shown():
        desk.decide(hub, item, decision, defect, _comment(item))


def _decide_new(hub: HubClient, desk: Desk, item: QueueItem) -> None:
    name = str(st.session_state[f"review_new_type-{_id(item)}"]).strip()
    with errors.shown():
        if not name:
            raise HubError("another type of defect: no name was given; say what it is")
        desk.decide(hub, item, Decision.DEFECT, name, _comment(item))


def _comment(item: QueueItem) -> str:
    return str(st.session_state.get(f"review_comment-{_id(item)}") or "")


def _undo(hub: HubClient, desk: Desk, mine: Review) -> None:
    with errors.shown():
        desk.undo(hub, mine)


def _on_top(hub: HubClient, desk: Desk) -> None:
    with errors.shown():
        desk.decide_on_top(hub)
