// Keys, decisions and what follows from them. A decision is shown once the server has it on the disk.
import { state, byId, button, count, say, told, get, post, OPEN, ACCEPT, REJECT, DECISIONS, loadFacts, loadCodes, loadStarts, loadOrder, loadPairs, refreshPairs, forgetPairs, setOrder, placeOf, candidateOf } from "/net.js";
import * as queue from "/list.js";
import * as stage from "/stage.js";
import * as filters from "/filters.js";
import * as notes from "/notes.js";
import { showLimits } from "/limits.js";
import * as map from "/map.js";

let current = -1, tab = "review";
const address = new URL(location).searchParams;

// One thing after the other: keys that come while a decision is being written wait for it.
let line = Promise.resolve();
const inTurn = act => { line = line.then(act).catch(error => say(error.message, "bad")); return line; };

const remember = () => {
  const query = new URLSearchParams(state.query), made = candidateOf(current), { view, mask } = stage.viewed();
  query.set("reviewer", state.reviewer);
  if (made) { query.set("pair", made.of.id); query.set("k", made.k); }
  if (view !== "two") query.set("view", view);
  if (mask !== "photo") query.set("mask", mask);
  if (tab !== "review") query.set("tab", tab);
  if (tab === "map") map.remembered(query);
  history.replaceState(null, "", `/?${query}`);
};
// Candidates count when all are reviewed, else pairs: a pair whose candidate was rejected is open until one is accepted
// or none is left, so the goal stays the same.
const tally = () => {
  let accepted = 0, rejected = 0, pairs = 0, open = 0;
  const seen = new Uint8Array(state.starts.length);
  for (const row of state.order) {
    const code = state.codes[row], pair = state.pairAt[row];
    accepted += code === ACCEPT;
    rejected += code === REJECT;
    pairs += !seen[pair];
    open += code === OPEN && seen[pair] < 2;
    seen[pair] = code === OPEN ? 2 : seen[pair] || 1;
  }
  const whole = filters.field("scope").value === "all", meter = byId("meter"), what = whole ? "decided" : "pairs settled";
  const all = whole ? state.order.length : pairs, decided = whole ? accepted + rejected : pairs - open;
  const share = decided / Math.max(1, all) / Math.max(1, accepted + rejected);
  const part = (kind, text) => Object.assign(document.createElement("span"), { className: kind, textContent: text });
  byId("tally").replaceChildren(part("strong", count(decided)), ` of ${count(all)} ${what} `, part("accept", `✓ ${count(accepted)}`), " ", part("reject", `✗ ${count(rejected)}`));
  meter.setAttribute("aria-valuemax", all);
  meter.setAttribute("aria-valuenow", decided);
  meter.setAttribute("aria-valuetext", `${decided} of ${all} ${what}, ${accepted} accepted, ${rejected} rejected`);
  meter.children[0].style.width = `${100 * accepted * share}%`;
  meter.children[1].style.width = `${100 * rejected * share}%`;
  document.title = `${decided}/${all} ${state.facts.folder} – harmonygen review`;
  return { all, decided };
};
const after = row => state.order[(placeOf(row) ?? -1) + 1];
const before = row => { const place = placeOf(row); return place ? state.order[place - 1] : undefined; };
const openAfter = row => {
  const from = (placeOf(row) ?? -1) + 1, size = state.order.length;
  for (let step = 0; step < size; step++) {
    const each = state.order[(from + step) % size];
    if (!state.codes[each] && each !== row) return each;
  }
  return undefined;
};

// Bring everything in line with a row; its pair's details are asked for if they are not here.
const go = async row => {
  if (row === undefined) return;
  current = row;
  await loadPairs([row]);
  const made = candidateOf(row), place = placeOf(row);
  stage.show(made, each => inTurn(() => go(each)));
  notes.show(made);
  for (const name of ["accept", "reject"]) button(name).setAttribute("aria-pressed", DECISIONS[state.codes[row]] === name);
  queue.fill(row);
  byId("place").textContent = place === undefined ? `not in the queue of ${count(state.order.length)}` : `${count(place + 1)} of ${count(state.order.length)}`;
  byId("now").textContent = `${told(made)}, ${byId("place").textContent}`;
  tally();
  remember();
  lookAhead(place);
};
const lookAhead = place => {
  if (place === undefined) return;
  const rows = Array.from(state.order.subarray(place + 1, place + 13));
  loadPairs(rows).then(() => rows.slice(0, 2).forEach(row => stage.ahead(candidateOf(row)))).catch(() => {});
};
const nothing = () => {
  const empty = !state.order.length;
  byId("nothing").hidden = !empty;
  byId("nothing").textContent = state.facts.candidates ? "No candidate fits these filters." : "This run has no candidates to review.";
  byId("count").textContent = `${count(state.order.length)} of ${count(state.facts.candidates)} candidates`;
  byId("says").textContent = filters.field("scope").value === "selected"
    ? "You review what the run selects of each pair. Reject it, and the pair’s next in line takes its place."
    : "You review all candidates, also those that a gate refused.";
};
let drawn = 0;
const refill = async wanted => {
  if (!await loadOrder()) return;
  nothing();
  await map.follow();
  await showOrder(wanted);
  document.documentElement.dataset.drawn = ++drawn;
};
const showOrder = async wanted => {
  nothing();
  const row = wanted !== undefined && (placeOf(wanted) !== undefined || wanted === current) ? wanted : undefined;
  if (!state.order.length) { queue.fill(-1); tally(); stage.show(null); notes.show(null); current = -1; remember(); return; }
  await go(row !== undefined && placeOf(row) !== undefined ? row : state.order[0]);
};

// In the scope "selected", a pair's next in line comes into the queue, and one that no longer stands leaves it.
const restand = (row, standing) => {
  if (filters.field("scope").value !== "selected" || !standing.length) return undefined;
  let order = Array.from(state.order), next;
  const gone = new Set(standing.filter(([each, stands]) => !stands && each !== row && placeOf(each) !== undefined).map(([each]) => each));
  const came = standing.filter(([each, stands]) => stands && placeOf(each) === undefined).map(([each]) => each);
  if (!gone.size && !came.length) return undefined;
  const place = placeOf(row) ?? -1;
  if (came.length && filters.field("decided").value !== "accept") { order.splice(place + 1, 0, ...came); next = came[0]; }
  if (gone.size) order = order.filter(each => !gone.has(each));
  setOrder(Uint32Array.from(order));
  return next;
};
const note = answer => {
  for (const [row, code] of answer.codes) state.codes[row] = code;
  for (const [row, stands] of answer.standing) { const made = candidateOf(row); if (made) made.standing = stands; }
};
const decide = name => inTurn(async () => {
  if (current < 0) return;
  const row = current, made = candidateOf(row);
  const answer = await post("/api/say", { rows: [row], decision: name });
  note(answer);
  const next = restand(row, answer.standing);
  say(`${name === "accept" ? "✓ accepted" : "✗ rejected"}  ${made.of.id} · candidate ${made.k}`, name);
  await go(name === "reject" && next !== undefined ? next : openAfter(row) ?? after(row) ?? row);
  const { all, decided } = tally();
  if (all && decided === all) say(`All ${count(all)} are done, and saved in the run’s folder.`, "accept");
});
const rejectPair = () => inTurn(async () => {
  if (current < 0) return;
  const { of } = candidateOf(current), rows = of.candidates.map(made => made.row);
  note(await post("/api/say", { rows, decision: "reject" }));
  say(`✗ rejected  all ${rows.length} of ${of.id}: the pair will have none`, "reject");
  const last = rows.filter(row => placeOf(row) !== undefined).pop() ?? current;
  await go(openAfter(last) ?? after(last) ?? current);
});
const clear = () => inTurn(async () => {
  if (current < 0 || !state.codes[current]) return;
  const answer = await post("/api/say", { rows: [current], decision: "" });
  note(answer);
  restand(current, answer.standing);
  say("cleared");
  await go(current);
});
const undo = () => inTurn(async () => {
  const answer = await post("/api/undo", {});
  if (answer.codes.length) note(answer); else await loadCodes();
  if (answer.first !== null) await refreshPairs([answer.first]);
  restand(answer.first, answer.standing);
  say(answer.changed > 1 ? `undone: ${count(answer.changed)} candidates` : "undone");
  await (answer.changed > 1 ? refill(current) : go(answer.first));
});
const ask = (text, yes) => new Promise(done => {
  const dialog = byId("ask");
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
});
const decideAll = name => inTurn(async () => {
  const expected = state.order.length, word = name === "accept" ? "Accept" : "Reject";
  if (!expected || !await ask(`${word} all ${count(expected)} candidates that the filter shows? Undo (U) takes it back in one step.`, `${word} ${count(expected)}`)) return;
  say(`${word}ing ${count(expected)} candidates…`);
  await loadOrder();
  if (state.order.length !== expected) { nothing(); return say(`The filter has ${count(state.order.length)} candidates now: look at it again.`, "bad"); }
  const answer = await post("/api/say-all", { query: Object.fromEntries(state.query), expected, decision: name });
  await loadCodes();
  forgetPairs();
  say(`${name === "accept" ? "✓ accepted" : "✗ rejected"}  ${count(answer.changed)} candidates`, name);
  await refill(current);
});
const sibling = by => inTurn(() => {
  const made = candidateOf(current), list = made && made.of.candidates, next = made && list[list.indexOf(made) + by];
  return next && go(next.row);
});
const numbered = digit => inTurn(() => {
  const made = candidateOf(current), next = made && made.of.candidates.find(each => each.k === digit);
  return next && go(next.row);
});
const takeFile = file => inTurn(async () => {
  const answer = await post("/api/import", { content: await file.text() });
  await loadCodes();
  forgetPairs();
  say(`${count(answer.changed)} decisions read from ${file.name}`, "accept");
  await refill(current);
});
const show = name => {
  tab = ["review", "limits", "map", "people"].includes(name) ? name : "review";
  for (const each of ["review", "limits", "map", "people"]) byId(each).hidden = each !== tab;
  byId("filters").hidden = button("fold").hidden = !["review", "map"].includes(tab);
  for (const each of document.querySelectorAll("[name=tab]")) each.setAttribute("aria-pressed", each.value === tab);
  remember();
  if (tab === "people") return inTurn(notes.showPeople);
  if (tab === "limits") return inTurn(showLimits);
  if (tab === "map") return inTurn(map.showMap);
  return current >= 0 && queue.fill(current);
};
const doing = {
  accept: () => decide("accept"), reject: () => decide("reject"), undo,
  next: () => inTurn(() => go(after(current))), previous: () => inTurn(() => go(before(current))),
  import: () => byId("file").click(), export: () => show("people"),
  "accept-all": () => decideAll("accept"), "reject-all": () => decideAll("reject"), reset: filters.reset,
  "clear-lasso": () => filters.setAll({ lasso: "" }),
  fold: () => button("fold").setAttribute("aria-expanded", byId("filters").classList.toggle("open")),
  "zoom-in": () => stage.zoomBy(1.5), "zoom-out": () => stage.zoomBy(1 / 1.5), "zoom-own": stage.zoomOwn,
};
for (const [name, act] of Object.entries(doing)) button(name).addEventListener("click", act);
for (const each of document.querySelectorAll("[name=tab]")) each.addEventListener("click", () => show(each.value));
const keys = {
  a: doing.accept, r: doing.reject, u: undo, c: clear, x: rejectPair, n: doing.next, p: doing.previous,
  arrowright: doing.next, arrowleft: doing.previous, arrowup: () => sibling(-1), arrowdown: () => sibling(1),
  o: () => { stage.nextMask(); remember(); }, v: () => { stage.nextView(); remember(); }, z: stage.zoomOwn, "+": doing["zoom-in"], "=": doing["zoom-in"], "-": doing["zoom-out"],
  f: () => { byId("more").open = true; filters.field("p_composite_min").focus(); }, t: () => byId("said").elements.namedItem("tags").focus(),
  e: doing.export, i: doing.import, s: () => filters.choose("scope", filters.field("scope").value === "all" ? "selected" : "all"),
  home: () => inTurn(() => go(state.order[0])), end: () => inTurn(() => go(state.order[state.order.length - 1])),
  "?": () => { byId("help").open = !byId("help").open; },
};
const SHOWN = ["any", "open", "accept", "reject"];

// A control that was used with the mouse gives the keyboard back; one that was reached with Tab keeps it.
let byPointer = false;
addEventListener("pointerdown", () => { byPointer = true; }, true);
document.addEventListener("click", event => { if (byPointer && event.target.closest("button, summary, [type=radio], [type=checkbox]")) document.activeElement.blur(); });
document.addEventListener("change", event => { if (byPointer && event.target.matches("select, [type=range]")) event.target.blur(); });
document.addEventListener("keydown", event => {
  byPointer = false;
  const at = event.target, key = event.key.toLowerCase(), arrow = key.startsWith("arrow") || key === "home" || key === "end";
  const typing = at.matches("select, textarea, [type=search], [type=text], [type=number], input:not([type])");
  if ((event.ctrlKey || event.metaKey) && key === "z" && !typing) { event.preventDefault(); return undo(); }
  if (event.ctrlKey || event.metaKey || event.altKey || !byId("keys").checked || byId("ask").open || tab !== "review") return;
  if (key === "escape") return at.blur();
  if (typing || (arrow && at.matches("input"))) return;
  if (key === " ") {
    if (at.closest("button, input, summary")) return;
    event.preventDefault();
    return event.repeat || stage.flip(true);
  }
  const digit = /^Digit(\d)$/.exec(event.code);
  if (digit && event.shiftKey) { event.preventDefault(); const shown = SHOWN[digit[1] - 1]; return shown && filters.choose("decided", shown); }
  if (/^\d$/.test(key)) { event.preventDefault(); return numbered(+key); }
  if (!(key in keys)) return;
  event.preventDefault();
  if (at.id === "queue" && key === "arrowdown") return doing.next();
  if (at.id === "queue" && key === "arrowup") return doing.previous();
  if (event.repeat && !arrow && !"np+-".includes(key)) return;  // a key held down decides once
  keys[key]();
});
document.addEventListener("keyup", event => { if (event.key === " ") stage.flip(false); });
byId("file").addEventListener("change", event => { [...event.target.files].forEach(takeFile); event.target.value = ""; });
document.addEventListener("dragover", event => event.preventDefault());
document.addEventListener("drop", event => { event.preventDefault(); [...event.dataTransfer.files].forEach(takeFile); });
byId("mask-choice").addEventListener("change", event => { stage.setMask(event.target.value); remember(); });
byId("view-choice").addEventListener("change", event => { stage.setView(event.target.value); remember(); });
queue.onChoose(row => inTurn(() => go(row)));
map.onOpen(row => { show("review"); inTurn(() => go(row)); });
map.onChange(remember);
map.recall(address);

// The rest of a large run, and another selection of it, come while the page is open.
const follow = async () => {
  const { version, whole } = state.facts;
  try {
    const now = await loadFacts();
    if (now.version !== version || now.whole !== whole) await inTurn(async () => {
      filters.prepare(now);
      heading();
      forgetPairs();
      await Promise.all([loadCodes(), loadStarts()]);
      const named = await findNamed();
      await refill(current);
      if (named !== null) await go(named);
      if (tab === "limits") await showLimits();
      if (tab === "map") await map.showMap();
    });
  } catch (error) { say(error.message, "bad"); }
  setTimeout(follow, state.facts.whole ? 5000 : 300);
};
const heading = () => {
  byId("run").textContent = state.facts.folder;
  const lines = [...state.facts.notes, ...(state.facts.whole ? [] : ["The run is being read: the first pairs are here, the others follow."])];
  byId("notes").hidden = !lines.length;
  byId("notes").replaceChildren(...lines.map(text => Object.assign(document.createElement("p"), { textContent: text })));
};
// The candidate that the address names; it may be in a part of the run that is still to be read.
let wanted = address.get("pair");
const findNamed = async () => {
  if (!wanted) return null;
  const { row } = await get(`/api/find?${new URLSearchParams({ pair: wanted, k: address.get("k") || "" })}`);
  if (row !== null) wanted = null;
  return row;
};
const start = async () => {
  state.reviewer = address.get("reviewer") || "reviewer";
  await loadFacts();
  heading();
  filters.prepare(state.facts);
  filters.write(filters.filterOf(address));
  filters.start(() => inTurn(() => refill(current)));
  stage.setView(address.get("view"));
  stage.setMask(address.get("mask"));
  await Promise.all([loadCodes(), loadStarts(), loadOrder()]);
  nothing();
  const named = await findNamed();
  if (state.order.length || named !== null) await go(named ?? Array.from(state.order).find(row => state.codes[row] === OPEN) ?? state.order[0]);
  else { stage.show(null); notes.show(null); tally(); }
  await stage.painted();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
  if (address.get("tab")) show(address.get("tab"));
  setTimeout(follow, state.facts.whole ? 5000 : 200);
};
start().catch(error => { byId("notes").hidden = false; byId("notes").textContent = error.message; });
