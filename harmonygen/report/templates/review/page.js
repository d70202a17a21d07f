// Filters, keys and what is said.
const form = byId("filters"), field = name => form.elements.namedItem(name);
let current = null, items = [], ordered = [], place = [];
// The score that filters and order are about: all judges' together, or one's.
let lens = made => made.score;
const chooseLens = () => {
  const judge = field("judge");
  lens = judge && judge.value ? made => made.judged[+judge.value] ?? null : made => made.score;
};

function told(made) {
  const verdict = { accept: "accepted", reject: "rejected" }[verdictOf(made)] || "undecided";
  return `${made.pair.id}, candidate ${made.k}, ${scoresOf(made).join(", ")}, ${made.gate ? `refused by gate ${made.gate}, ` : ""}${verdict}`;
}

// The candidates that select would choose with these decisions, and all that are decided.
const standing = new Map();
const stand = pair => {
  const decided = pair.candidates.filter(verdictOf);
  let left = run.count - decided.filter(made => verdictOf(made) === "accept").length;
  const open = pair.candidates.filter(made => !verdictOf(made) && !(made.gate && !made.selected) && left-- > 0);
  standing.set(pair, new Set([...decided, ...open]));
};
const inScope = made => field("scope").value === "all" || standing.get(made.pair).has(made);

const sort = () => {
  const lead = field("scope").value === "all" ? lens : made => lens(made.pair.candidates[0]);
  const sign = { low: 1, high: -1 }[field("order").value];
  const by = (a, b) => (lead(a) === null) - (lead(b) === null) || sign * (lead(a) - lead(b)) || a.index - b.index;
  ordered = sign ? [...candidates].sort(by) : candidates;
  place = new Int32Array(candidates.length);
  ordered.forEach((made, at) => { place[made.index] = at; });
};
const wanted = () => {
  const show = field("show").value, gate = field("gate").value, find = field("text").value.trim().toLowerCase();
  const decider = field("decider") ? field("decider").value : "";
  const low = field("low").value / 100, high = field("high").value / 100;
  return made => {
    const verdict = verdictOf(made);
    if (show !== "all" && verdict !== (show === "open" ? "" : show)) return false;
    if (gate === "+" ? !made.gate : gate === "-" ? made.gate : gate && made.gate !== gate) return false;
    if ((low > 0 || high < 1) && (lens(made) === null || lens(made) < low || lens(made) > high)) return false;
    if (decider && made.decidedBy !== decider) return false;
    return !find || made.pair.id.toLowerCase().includes(find);
  };
};

// Candidates count when all are reviewed, else pairs: a pair whose candidate was rejected is open until one is accepted
// or none is left, so the goal stays the same.
const tally = () => {
  const whole = field("scope").value === "all";
  let all = 0, accepted = 0, rejected = 0;
  for (const made of candidates) {
    if (!inScope(made)) continue;
    const verdict = verdictOf(made);
    all++;
    accepted += verdict === "accept";
    rejected += verdict === "reject";
  }
  let decided = accepted + rejected;
  if (!whole) {
    const chosen = [...standing.values()];
    all = chosen.length;
    decided = chosen.filter(made => [...made].every(verdictOf)).length;
  }
  const what = whole ? "decided" : "pairs settled", meter = byId("meter");
  byId("tally").innerHTML = `<b>${count(decided)}</b> of ${count(all)} ${what} <span class="accept">✓ ${count(accepted)}</span> <span class="reject">✗ ${count(rejected)}</span>`;
  meter.setAttribute("aria-valuemax", all);
  meter.setAttribute("aria-valuenow", decided);
  meter.setAttribute("aria-valuetext", `${decided} of ${all} ${what}, ${accepted} accepted, ${rejected} rejected`);
  const share = accepted + rejected ? accepted / (accepted + rejected) : 0, done = all ? 100 * decided / all : 0;
  meter.children[0].style.width = `${done * share}%`;
  meter.children[1].style.width = `${done * (1 - share)}%`;
  document.title = `${decided}/${all} ${run.folder} – harmonygen review`;
  return { all, decided };
};
const histogram = () => {
  const bars = new Array(50).fill(0), low = +field("low").value, high = +field("high").value;
  for (const made of candidates) if (lens(made) !== null && inScope(made)) bars[Math.min(49, Math.floor(lens(made) * 50))]++;
  const top = Math.max(1, ...bars);
  const path = inside => bars.map((bar, at) => (at * 2 >= low && at * 2 < high) === inside && bar
    ? `M${at * 2 + .2} 20V${(20 - 1 - 18 * Math.sqrt(bar / top)).toFixed(1)}H${at * 2 + 1.8}V20Z` : "").join("");
  const drawing = byId("histogram");
  drawing.querySelector(".out").setAttribute("d", path(false));
  drawing.querySelector(".in").setAttribute("d", path(true));
  byId("scores").textContent = `${(low / 100).toFixed(2)} – ${(high / 100).toFixed(2)}`;
};

const after = made => items.find(other => place[other.index] > place[made.index]);
const before = made => items.findLast(other => place[other.index] < place[made.index]);
const openAfter = made => items.find(other => place[other.index] > place[made.index] && !verdictOf(other)) || items.find(other => !verdictOf(other));

// Bring everything in line with the filters and decisions; the current candidate stays, or the nearest that is shown.
const refilter = () => { items = ordered.filter(inScope).filter(wanted()); };
const refresh = (stay = true) => {
  refilter();
  if (!current || (!stay && !items.includes(current))) current = (current && after(current)) || items[0] || current;
  const selected = field("scope").value === "selected";
  byId("says").textContent = selected
    ? `You review the ${run.count > 1 ? `${run.count} candidates` : "candidate"} selected of each pair. Reject one, and the next in line takes its place.`
    : "You review all candidates, also those that a gate refused.";
  byId("count").textContent = items.length === candidates.length ? count(items.length) : `${count(items.length)} of ${count(candidates.length)}`;
  byId("nothing").hidden = items.length > 0;
  byId("nothing").textContent = candidates.length ? "No candidate fits these filters." : "This run has no candidates to review.";
  for (const name of ["accept", "reject"]) button(name).setAttribute("aria-pressed", !!current && verdictOf(current) === name);
  button("undo").disabled = !history.length;
  stage.show(current);
  queue.fill(items, current);
  return tally();
};
const go = made => {
  if (!made) return null;
  current = made;
  const tallied = refresh();
  byId("now").textContent = `${told(made)}, ${queue.at(made) === undefined ? "not in the queue" : `${queue.at(made) + 1} of ${items.length}`}`;
  const next = after(made), text = next && entryOf(next.picture);
  if (text) new Image().src = `data:image/webp;base64,${text}`;
  return tallied;
};

let fading;
const say = (text, kind = "") => {
  const toast = byId("toast");
  toast.textContent = text;
  toast.className = `toast on ${kind}`;
  clearTimeout(fading);
  fading = setTimeout(() => toast.classList.remove("on"), kind === "bad" ? 9000 : 2600);
};
const settle = (changes, sentence, kind) => {
  new Set(changes.map(([id]) => pairOf.get(id)).filter(Boolean)).forEach(stand);
  if (saved) return say(sentence, kind);
  say("The browser cannot keep your decisions: press E to export them before you leave.", "bad");
};
const decide = verdict => {
  if (!current) return;
  const made = current;
  settle(step([[made.pair.id, made.k, verdictOf(made), verdict]]), `${verdict === "accept" ? "✓ accepted" : "✗ rejected"}  ${made.pair.id} · candidate ${made.k}`, verdict);
  advance(made);
};
const advance = made => {
  refilter();
  const { all, decided } = go(openAfter(made) || after(made) || made);
  if (all && decided === all) say(`All ${count(all)} are done. Press E to export decisions.json.`, "accept");
};
const rejectPair = () => {
  if (!current) return;
  const { pair } = current, last = pair.candidates[pair.candidates.length - 1];
  const changes = step(pair.candidates.map(made => [pair.id, made.k, verdictOf(made), "reject"]));
  settle(changes, `✗ rejected  all ${pair.candidates.length} of ${pair.id}: the pair will have none`, "reject");
  advance(last);
};
const clear = () => {
  if (!current || !verdictOf(current)) return;
  settle(step([[current.pair.id, current.k, verdictOf(current), ""]]), `cleared  ${current.pair.id} · candidate ${current.k}`);
  go(current);
};
const undo = () => {
  const changes = unstep();
  if (!changes) return say("Nothing to undo since this page was opened.");
  settle(changes, changes.length > 1 ? `undone: ${count(changes.length)} decisions` : `undone  ${changes[0][0]} · candidate ${changes[0][1]}`);
  const pair = pairOf.get(changes[0][0]);
  go(pair && pair.candidates.find(made => made.k === changes[0][1]) || current);
};
const sibling = by => current && go(current.pair.candidates[current.place + by]);
const forget = () => {
  const all = [...verdicts].flatMap(([id, made]) => [...made].map(([k, verdict]) => [id, k, verdict, ""]));
  if (!all.length || !confirm(`Forget all ${all.length} decisions of this run in this browser? Undo brings them back until the page is closed.`)) return;
  settle(step(all), `forgot ${count(all.length)} decisions`);
  refresh();
};
const read = async file => {
  try {
    const rows = imported(await file.text()), changes = step(rows);
    settle(changes, `${count(rows.length)} decisions read from ${file.name}, ${count(changes.length)} changed`, "accept");
    refresh(false);
  } catch (error) {
    say(`${file.name} was not imported: ${error.message}.`, "bad");
  }
};
const saveFile = () => say(`${count(download())} decisions saved as decisions.json, for harmonygen select --decisions`, "accept");
const choose = (name, value) => { field(name).value = value; filter(); };
const filter = () => { chooseLens(); sort(); refresh(false); histogram(); };

const button = name => document.querySelector(`button[name=${name}]`);
const doing = {
  accept: () => decide("accept"), reject: () => decide("reject"), undo, forget,
  next: () => current && go(after(current)), previous: () => current && go(before(current)),
  import: () => byId("file").click(), export: saveFile,
};
for (const [name, act] of Object.entries(doing)) button(name).addEventListener("click", act);
const keys = {
  a: doing.accept, r: doing.reject, u: undo, c: clear, x: rejectPair, n: doing.next, p: doing.previous,
  arrowright: doing.next, arrowleft: doing.previous, arrowup: () => sibling(-1), arrowdown: () => sibling(1),
  o: () => say(`outline: ${{ photo: "on the real photo", both: "on both", none: "off" }[stage.turn()]}`),
  f: () => field("low").focus(), e: saveFile, i: doing.import, s: () => choose("scope", field("scope").value === "all" ? "selected" : "all"),
  1: () => choose("show", "all"), 2: () => choose("show", "open"), 3: () => choose("show", "accept"), 4: () => choose("show", "reject"),
  home: () => go(items[0]), end: () => go(items[items.length - 1]),
  "?": () => { byId("help").open = !byId("help").open; },
};

// A control that was used with the mouse gives the keyboard back; one that was reached with Tab keeps it.
let byPointer = false;
addEventListener("pointerdown", () => { byPointer = true; }, true);
const release = event => { if (byPointer && event.target.type !== "search") event.target.blur(); };
document.addEventListener("click", event => { if (event.target.closest("button, summary, [type=radio], [type=checkbox]") && byPointer) document.activeElement.blur(); });
form.addEventListener("change", release);

document.addEventListener("keydown", event => {
  byPointer = false;
  const at = event.target, key = event.key.toLowerCase(), arrow = key.startsWith("arrow") || key === "home" || key === "end";
  if ((event.ctrlKey || event.metaKey) && key === "z" && at.type !== "search") { event.preventDefault(); return undo(); }
  if (event.ctrlKey || event.metaKey || event.altKey || !byId("keys").checked) return;
  if (key === "escape") return at.blur();
  if (at.matches("select, [type=search]") || (arrow && at.matches("input"))) return;
  if (key === " ") {
    if (at.closest("button, input, summary")) return;
    event.preventDefault();
    return event.repeat || stage.flip(true);
  }
  if (!(key in keys)) return;
  event.preventDefault();
  if (at.id === "queue" && key === "arrowdown") return doing.next();
  if (at.id === "queue" && key === "arrowup") return doing.previous();
  if (event.repeat && !arrow && !"np".includes(key)) return;  // a key held down decides once
  keys[key]();
});
document.addEventListener("keyup", event => { if (event.key === " ") stage.flip(false); });
let typing;
form.addEventListener("input", event => {
  if (event.target.name === "low" && +field("low").value > +field("high").value) field("high").value = field("low").value;
  if (event.target.name === "high" && +field("high").value < +field("low").value) field("low").value = field("high").value;
  clearTimeout(typing);
  if (event.target.name === "text") typing = setTimeout(filter, 120); else filter();
});
form.addEventListener("submit", event => event.preventDefault());
byId("file").addEventListener("change", event => { [...event.target.files].forEach(read); event.target.value = ""; });
document.addEventListener("dragover", event => event.preventDefault());
document.addEventListener("drop", event => { event.preventDefault(); [...event.dataTransfer.files].forEach(read); });
addEventListener("storage", event => {  // the same run is reviewed in another window
  if (!event.key || !event.key.startsWith(prefix) || event.key === prefix) return;
  const id = event.key.slice(prefix.length);
  decode(id, event.newValue);
  if (pairOf.has(id)) stand(pairOf.get(id));
  refresh();
});
addEventListener("beforeunload", event => { if (!saved && history.length) event.preventDefault(); });

form.reset();
if (matchMedia("(max-width: 900px)").matches) byId("help").open = false;
const resumed = restore();
pairs.forEach(stand);
sort();
refilter();
current = items.find(made => !verdictOf(made)) || items[0] || null;
const { decided } = refresh();
histogram();
if (decided && resumed) say(`Welcome back: ${count(decided)} done before.`);
if (!saved) say("This browser does not let the page keep decisions: export them before you leave.", "bad");
const ready = async () => {
  await stage.painted();
  requestAnimationFrame(() => setTimeout(() => { document.documentElement.dataset.ready = performance.now().toFixed(0); }));
};
const load = () => {
  const before = waiting.size, left = paintWaiting();
  if (before && !left) stage.trace();
  if (!document.documentElement.dataset.ready && (!current || entryOf(current.picture) !== null)) {
    stage.trace();
    ready();
  }
  if (document.readyState === "loading" || left) setTimeout(load, 30);
};
load();
