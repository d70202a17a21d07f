// Thresholds: for each limit a curve of what it lets through, with examples just inside and just outside. The server
// counts: what this page shows is what harmonygen select comes to.
import { state, byId, make, get, post, count, figure, picture, say } from "/net.js";
import { nameOf } from "/filters.js";

const STEPS = 1000, WIDE = 640, TALL = 150, LOG = new Set(["fmse"]);
const values = new Map(), cards = new Map();
let facts = null, sums = null, asking = 0, timer = 0;

const query = () => new URLSearchParams([...values].filter(([, value]) => value !== null));
const svg = (name, more = {}) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(more)) node.setAttribute(key, value);
  return node;
};
// A place from 0 to 1 along the axis, and back; fMSE has a long tail and lies on a logarithmic one.
const scaleOf = limit => {
  const [low, high] = limit.extent || [0, 1], [a, b] = LOG.has(limit.column) ? [Math.log1p(low), Math.log1p(high)] : [low, high];
  const width = b - a || 1;
  return {
    place: value => Math.max(0, Math.min(1, ((LOG.has(limit.column) ? Math.log1p(Math.max(0, value)) : value) - a) / width)),
    value: place => { const at = a + place * width; return LOG.has(limit.column) ? Math.expm1(at) : at; },
  };
};
const rounded = value => value === 0 ? 0 : +value.toPrecision(3);
const within = (limit, value) => limit.column === "fmse" ? Math.max(0, value) : limit.field === "min_structure" ? Math.max(-1, Math.min(1, value)) : Math.max(0, Math.min(1, value));

const drawCurve = card => {
  const { limit, drawn, scale } = card, value = values.get(limit.field), most = Math.max(1, drawn.of);
  const points = drawn.x.map((x, at) => [scale.place(x) * WIDE, TALL - drawn.count[at] / most * (TALL - 8)]);
  const path = points.map(([x, y], at) => at ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M0 ${y.toFixed(1)}L${x.toFixed(1)} ${y.toFixed(1)}`).join("") + `H${WIDE}`;
  const at = scale.place(value) * WIDE;
  card.line.setAttribute("d", path);
  card.area.setAttribute("d", `${path}V${TALL}H0Z`);
  card.inside.setAttribute("x", limit.side === "min" ? at : 0);
  card.inside.setAttribute("width", limit.side === "min" ? WIDE - at : at);
  for (const name of ["x1", "x2"]) card.mark.setAttribute(name, at);
  card.slider.value = Math.round(scale.place(value) * STEPS);
  if (document.activeElement !== card.number) card.number.value = value;
  card.slider.setAttribute("aria-valuetext", `${value}`);
};
const tiles = (list, rows, word) => list.replaceChildren(...(rows.length ? rows.map(each => {
  const real = picture("real", each.row, 96), made = picture("candidate", each.row, 96), image = make("img", { src: made, alt: `${each.id}, candidate ${each.k}`, loading: "lazy", fetchpriority: "low" });
  const link = make("a", { href: `/?${new URLSearchParams({ reviewer: state.reviewer, scope: "all", pair: each.id, k: each.k })}`, target: "_blank", rel: "noopener", title: `${each.id}, candidate ${each.k}: hold the pointer on it for the photo` }, image, make("span", {}, figure(each.value)));
  for (const [kind, source] of [["pointerenter", real], ["pointerleave", made], ["focus", real], ["blur", made]]) link.addEventListener(kind, () => { image.src = source; });
  return link;
}) : [make("span", { className: "legend" }, `No candidate lies just ${word}.`)]));
const load = async card => {
  card.drawn = await get(`/api/limits/curve?gate=${encodeURIComponent(card.limit.gate)}&${query()}`);
  drawCurve(card);
  tiles(card.inside9, card.drawn.inside, "inside");
  tiles(card.outside9, card.drawn.outside, "outside");
};
// With several judges: how they are combined says which of them may refuse a candidate alone, and so has a limit.
const MEANS = {
  "mean-rank": "ranked by the mean of their ranks; none refuses alone", mean: "ranked by the mean of their scores; none refuses alone",
  "all-above": "each refuses what it gives less", veto: "each but the first refuses what it gives less",
};
const combine = () => {
  const choice = make("select", { onchange: event => { values.set("combine", event.target.value); again(); } }, ...facts.combines.map(value => make("option", { value }, `${value}: ${MEANS[value]}`)));
  choice.value = facts.combine;
  return make("label", { className: "pick combine" }, make("span", { className: "legend" }, `Judges ${state.facts.judges.join(", ")}`), choice);
};
const again = () => showLimits().catch(error => { byId("used").textContent = error.message; });
const allInForce = () => {
  for (const card of cards.values()) values.set(card.limit.field, card.limit.value);
  if (facts.combines.length) values.set("combine", facts.combine_in_force);
  again();
};
const showSums = () => {
  const now = `${count(sums.selected)} selected, in ${count(sums.pairs)} of ${count(facts.pairs)} pairs; ${count(sums.passed)} of ${count(facts.candidates)} candidates pass`;
  byId("sums").replaceChildren(make("span", { className: "strong" }, count(sums.selected)), now.slice(count(sums.selected).length));
  const before = sums.selected - facts.in_force.selected;
  byId("change").textContent = before ? `${before > 0 ? "+" : "−"}${count(Math.abs(before))} selected against the limits in force` : "as the limits in force";
  byId("used").textContent = "";
};
// Counts follow the pointer; curves and examples follow when it rests.
const follow = async () => {
  const number = ++asking, found = await get(`/api/limits/counts?${query()}`);
  if (number !== asking) return;
  sums = found;
  showSums();
  clearTimeout(timer);
  timer = setTimeout(() => { for (const card of cards.values()) load(card).catch(error => say(error.message, "bad")); }, 180);
};
const set = (card, value) => {
  if (!Number.isFinite(value)) return;
  values.set(card.limit.field, within(card.limit, value));
  for (const each of cards.values()) if (each.limit.field === card.limit.field) drawCurve(each);
  follow().catch(error => { byId("used").textContent = error.message; });
};
const cardOf = limit => {
  const card = { limit, scale: scaleOf(limit), drawn: { x: [], count: [], of: 1 } };
  const name = nameOf(limit.column), title = `${limit.side === "min" ? "Least" : "Greatest"} ${name}`;
  card.number = make("input", { type: "number", step: "any", "aria-label": title });
  card.slider = make("input", { type: "range", min: "0", max: `${STEPS}`, "aria-label": title });
  const plot = svg("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", class: "survival", "aria-hidden": "true" });
  card.inside = svg("rect", { class: "inside", y: 0, height: TALL });
  card.area = svg("path", { class: "area" });
  card.line = svg("path", { class: "line" });
  card.mark = svg("line", { class: "mark-line", y1: 0, y2: TALL });
  plot.append(card.inside, card.area, card.line, card.mark);
  card.inside9 = make("div", { className: "nine" });
  card.outside9 = make("div", { className: "nine" });
  const drag = event => { const box = plot.getBoundingClientRect(); set(card, rounded(card.scale.value(Math.max(0, Math.min(1, (event.clientX - box.x) / box.width))))); };
  plot.addEventListener("pointerdown", event => { plot.setPointerCapture(event.pointerId); drag(event); });
  plot.addEventListener("pointermove", event => { if (event.buttons) drag(event); });
  card.slider.addEventListener("input", () => set(card, rounded(card.scale.value(card.slider.value / STEPS))));
  card.number.addEventListener("change", () => set(card, +card.number.value));
  card.reset = make("button", { type: "button", onclick: () => set(card, limit.value) }, `In force: ${limit.value}`);
  const [low, high] = limit.extent || [0, 1];
  card.node = make("section", { className: "limit" }, make("h2", {}, title), make("p", { className: "legend" }, limit.about),
    make("div", { className: "row" }, card.number, card.reset),
    make("div", { className: "plot" }, plot, card.slider, make("p", { className: "ends legend" }, make("span", {}, figure(low)), make("span", {}, "candidates that pass, all other limits held"), make("span", {}, figure(high)))),
    make("p", { className: "legend" }, "Just inside: these pass"), card.inside9, make("p", { className: "legend" }, "Just outside: these fail this gate alone"), card.outside9);
  return card;
};
const use = async () => {
  const said = await post("/api/limits/use", { limits: Object.fromEntries(query()) });
  byId("used").replaceChildren("Written to ", make("code", {}, said.path), `. This command selects ${count(said.selected)} candidates: `, make("code", {}, said.command));
};
export const showLimits = async () => {
  const page = byId("limits");
  const how = values.get("combine");
  facts = await get(`/api/limits?${new URLSearchParams(how ? { combine: how } : {})}`);
  sums = facts.in_force;
  if (facts.combines.length) values.set("combine", facts.combine);
  for (const limit of facts.limits) if (!values.has(limit.field)) values.set(limit.field, limit.value);
  cards.clear();
  for (const limit of facts.limits) cards.set(limit.gate, cardOf(limit));
  page.replaceChildren(
    make("div", { className: "bar" },
      make("div", {}, make("p", { id: "sums", "aria-live": "polite" }), make("p", { id: "change", className: "legend" })),
      make("span", { className: "row" }, facts.combines.length ? combine() : null, make("button", { type: "button", onclick: allInForce }, "All as in force"),
        make("button", { type: "button", className: "primary", name: "use", onclick: () => use().catch(error => { byId("used").textContent = error.message; }) }, "Use these…")),
      make("p", { id: "used", role: "status" })),
    make("div", { className: "limits" }, ...[...cards.values()].map(card => card.node)));
  showSums();
  if (facts.combine !== facts.combine_in_force || [...cards.values()].some(card => values.get(card.limit.field) !== card.limit.value)) await follow();
  else await Promise.all([...cards.values()].map(load));
};
