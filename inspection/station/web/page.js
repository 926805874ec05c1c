// Shows /status.json once a second. Everything foreign becomes text, never markup; and whatever is
// shown goes dark as soon as the station does not answer: a frozen green page would be a lie.
"use strict";

const REFRESH_MS = 1000;
const LOST_MS = Number(document.body.dataset.silentMs) + REFRESH_MS;
const VERDICTS = ["PASS", "REVIEW", "REJECT", "FAULT"];
const SEVERITY = ["PASS", "REVIEW", "FAULT", "REJECT"]; // as core.decision.severity
const SHOWN_BY_BROWSERS = /\.(png|jpe?g|bmp)$/;

const at = (id) => document.getElementById(id);
let heardMs = null; // when the station's heart last beat, on this page's own clock
let shown = null; // the last status
let pictured = null; // the last part to look at

function element(tag, name, ...content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...content.map((one) => (one instanceof Node ? one : String(one))));
  return made;
}

const short = (value) => Number(value.toPrecision(4)).toString();
const clock = (text) => new Date(text).toLocaleTimeString("en-GB");
const count = (value) => value.toLocaleString("en-GB");
const bytes = (value) => (value < 1e9 ? `${(value / 1e6).toFixed(0)} MB` : `${(value / 1e9).toFixed(1)} GB`);

function duration(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}

function excess(frame) {
  if (frame.score === null || frame.band === null) return 0;
  return (frame.score - frame.band.reject_above) / (Math.abs(frame.band.reject_above) || 1);
}

// The frame that decided, as Event.deciding.
function deciding(event) {
  const worse = (a, b) => SEVERITY.indexOf(b.verdict) - SEVERITY.indexOf(a.verdict) || excess(b) - excess(a);
  return [...event.frames].sort(worse)[0];
}

function scoreWords(frame) {
  if (frame.score === null) return "no score";
  const band = frame.band;
  const limits = band ? ` · REVIEW above ${short(band.review_above)}, REJECT above ${short(band.reject_above)}` : "";
  return `score ${short(frame.score)}${limits}`;
}

// A bar from 0 to half beyond the upper threshold, with the score as its needle.
function bandBar(frame) {
  if (frame.score === null || frame.band === null || frame.band.reject_above <= 0) return "";
  const end = 1.5 * frame.band.reject_above;
  const share = (value) => `${Math.min(100, Math.max(0, (100 * value) / end))}%`;
  const bar = element("span", "band", element("i", "to-reject"), element("i", "to-review"), element("i", "at"));
  bar.children[0].style.width = share(frame.band.reject_above);
  bar.children[1].style.width = share(frame.band.review_above);
  bar.children[2].style.left = share(frame.score);
  bar.title = scoreWords(frame);
  return bar;
}

function reasonOf(event) {
  const frame = deciding(event);
  return event.reason || (event.frames.length > 1 ? `decided by camera ${frame.camera}` : "");
}

// What the second stage named, over all frames: "3 pore, 1 crack"; or how it ended.
function namesOf(event) {
  const asked = event.frames.map((frame) => frame.recognised).filter(Boolean);
  const missed = asked.find((one) => one.status === "late" || one.status === "failed");
  if (missed) return `known defects not named: ${missed.status}, ${missed.reason}`;
  const counts = {};
  for (const one of asked) for (const [type, n] of Object.entries(one.counts)) counts[type] = (counts[type] ?? 0) + n;
  const named = Object.entries(counts).map(([type, n]) => `${n} ${type}`);
  return named.length ? `known defects: ${named.join(", ")}` : "";
}

function showNewest(event) {
  if (!event) {
    at("newest").replaceChildren(element("p", "none", "No part judged yet"));
    return;
  }
  at("newest").replaceChildren(
    element("p", `word ${event.verdict}`, event.verdict),
    element("p", "part", event.part_id),
    element("p", "why", reasonOf(event)),
    bandBar(deciding(event)),
    element("p", "note", scoreWords(deciding(event))),
    element("p", "note", namesOf(event)),
    element("p", "note", `${clock(event.judged_at)} · ${event.latency_ms.toFixed(0)} ms · product ${event.product}`),
  );
}

function pictureOf(event) {
  const frame = deciding(event);
  const name = [frame.overlay, frame.image].find((one) => one && SHOWN_BY_BROWSERS.test(one));
  return name ? `/pictures/${event.verdict}/${encodeURIComponent(name)}` : null;
}

function showPicture(events) {
  const event = events.find((one) => one.verdict === "REVIEW" || one.verdict === "REJECT");
  if (event && event.event_id !== pictured) {
    pictured = event.event_id;
    const address = pictureOf(event);
    at("picture-link").hidden = !address;
    at("picture-link").href = at("picture-image").src = address ?? "";
    at("picture-image").alt = `part ${event.part_id}`;
    at("picture-note").textContent = `${event.verdict} · ${event.part_id} · ${clock(event.judged_at)}` + (address ? "" : " · no picture kept");
  } else if (pictured && at("picture-image").dataset.failed) {
    at("picture-image").src = at("picture-link").href; // it is written a moment after its event
  }
}

function showCounts(status) {
  at("counts").replaceChildren(
    ...VERDICTS.map((verdict) =>
      element(
        "div",
        verdict,
        element("span", "", element("b", "", verdict), element("small", "", "since the start"), element("small", "", `${count(status.counts[verdict] ?? 0)} in all`)),
        element("strong", "", count(status.since_start[verdict] ?? 0)),
      ),
    ),
  );
}

function partRow(event) {
  const frame = deciding(event);
  const cells = [
    clock(event.judged_at),
    event.part_id,
    element("span", `chip ${event.verdict}`, event.verdict),
    bandBar(frame),
    frame.score === null ? "–" : short(frame.score),
    reasonOf(event),
    event.latency_ms.toFixed(0),
  ];
  const row = element("tr", "", ...cells.map((cell) => element("td", "", cell)));
  row.children[1].title = event.part_id;
  row.children[5].title = reasonOf(event);
  return row;
}

function outputItem(output) {
  const waiting = output.waiting ? `${count(output.waiting)} waiting` : "";
  const words = [waiting, output.reason].filter(Boolean).join(" · ");
  const item = element("li", output.up ? "up" : "down", element("b", "", output.name), element("span", output.up ? "" : "warn", words));
  item.title = output.reason;
  return item;
}

function bundleItem(bundle) {
  const band = `${short(bundle.review_above)} / ${short(bundle.reject_above)}`;
  const overridden = bundle.override ? element("span", "warn", ` · ${bundle.override}`) : "";
  const words = `${bundle.name} ${bundle.bundle_id.slice(0, 8)} · ${band}${bundle.trial ? " · on trial" : ""}${bundle.detector ? ` · known defects by ${bundle.detector}` : ""}`;
  const note = bundle.note ? element("span", "warn", ` · ${bundle.note}`) : "";
  const item = element("li", "", element("b", "", `${bundle.product} · ${bundle.camera}`), element("span", "", words, overridden, note));
  item.title = `REVIEW above ${bundle.review_above}, REJECT above ${bundle.reject_above}; bundle ${bundle.bundle_id}`;
  return item;
}

function showList(id, items, empty) {
  at(id).replaceChildren(...(items.length ? items : [element("li", "empty", empty)]));
}

function showNumbers(status) {
  const latency = status.latency;
  const dropped = Object.entries(status.dropped).filter(([, number]) => number > 0);
  const numbers = [
    ["Deadline", `${count(status.deadline_ms)} ms`],
    ["Median", latency ? `${latency.p50_ms.toFixed(1)} ms` : "–"],
    ["99 %", latency ? `${latency.p99_ms.toFixed(1)} ms` : "–"],
    ["Queue", count(status.waiting)],
    ["Late", count(status.late)],
  ];
  const wide = [["Disk", "wide", `${bytes(status.disk_bytes)} of ${bytes(status.budget_bytes)}`]];
  if (dropped.length) wide.push(["Dropped", "wide warn", dropped.map(([what, number]) => `${what} ${count(number)}`).join(", ")]);
  at("numbers").replaceChildren(
    ...numbers.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
    element("dt"), element("dd"),
    ...wide.flatMap(([name, style, value]) => [element("dt", "", name), element("dd", style, value)]),
  );
}

function show(status) {
  if (shown && shown.version !== status.version) location.reload(); // this page is the old program's
  at("name").textContent = `${status.line} · ${status.station}`;
  at("run").textContent = `running for ${duration((new Date(status.at) - new Date(status.started_at)) / 1000)} · version ${status.version}`;
  at("clock").textContent = clock(status.at);
  showNewest(status.last[0]);
  showPicture(status.last);
  showCounts(status);
  at("rows").replaceChildren(...status.last.slice(0, 10).map(partRow));
  showList("outputs", status.outputs.map(outputItem), "none configured");
  showList("bundles", status.bundles.map(bundleItem), "none opened yet");
  showNumbers(status);
  shown = status;
}

function showLamp() {
  const silentMs = heardMs === null ? null : performance.now() - heardMs;
  const lost = silentMs === null || silentMs > LOST_MS;
  const state = lost ? "LOST" : shown.state;
  const since = silentMs === null ? "No contact yet" : `No contact since ${duration(silentMs / 1000)}; what stands here is old`;
  document.body.classList.toggle("lost", lost);
  at("lamp").className = state;
  at("shape").setAttribute("href", `#${state}`);
  at("state").textContent = lost ? "NO ANSWER" : state;
  const overrides = lost ? [] : shown.bundles.map((bundle) => bundle.override).filter(Boolean);
  at("reason").textContent = lost ? `${since}. Look after the station's process.` : shown.reason || "Parts are judged";
  at("override").textContent = overrides.length ? `Thresholds beyond their limits: ${overrides[0]}` : "";
  document.title = `${at("state").textContent} · ${at("name").textContent}`;
}

async function refresh() {
  try {
    const reply = await fetch("/status.json", { cache: "no-store", signal: AbortSignal.timeout(2 * REFRESH_MS) });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    show(await reply.json());
    heardMs = performance.now() - 1000 * Number(reply.headers.get("Age"));
  } catch (error) {
    console.warn(error); // the lamp says it, once the heartbeat is overdue
  }
  showLamp();
  setTimeout(refresh, REFRESH_MS);
}

at("picture-link").hidden = true;
at("picture-image").addEventListener("error", () => { at("picture-image").dataset.failed = "yes"; });
at("picture-image").addEventListener("load", () => { delete at("picture-image").dataset.failed; });
setInterval(showLamp, 250); // also while a request hangs
refresh();
