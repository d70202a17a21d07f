// The part "Map": all candidates as points on two columns, a lasso that filters, measurements, and the set as a whole.
import { state, byId, make, get, getBytes, post, count, figure, picture, say, told, loadPairs, candidateOf } from "/net.js";
import * as filters from "/filters.js";
import { makePlot, toAxis, fromAxis, valueAt, UNKNOWN } from "/plot.js";

const HEAD = 6, MANY = 40000, SOME = 4000;
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];  // viridis
const VIEWS = { middle: "middle 99 %", all: "all", filter: "what the filter shows" };
const KINDS = {
  colour: ["Colour change", "How mean L, a, b and the contrast of the foreground changed, measured from the pixels."],
  judge: ["The judge’s features", "What the judge sees: its features before the last layer, as two principal components."],
  copies: ["Photos under several ids", "Photos that are one: re-encoded, resized, mirrored or cropped, by hash and by parts."],
};
const FIGURES = { fmse: "fMSE", structure: "structure", lightness: "change of L", chroma: "change of a and b", contrast: "change of contrast, log2" };
const chosen = { x: "", y: "", colour: "decision", view: "middle" };
const axes = new Map();
let facts = null, version = "", plot = null, pinned = -1, hovered = -1, timer = 0, polling = 0, open = () => {}, shown = -1;

export const onOpen = act => { open = act; };
export const remembered = query => { for (const [name, value] of Object.entries(chosen)) if (value && !(name === "colour" && value === "decision") && !(name === "view" && value === "middle")) query.set(`map_${name}`, value); };
export const recall = address => { for (const name of Object.keys(chosen)) if (address.get(`map_${name}`)) chosen[name] = address.get(`map_${name}`); };

const loadAxis = async name => {
  if (!axes.has(name)) {
    const bytes = await getBytes(`/api/axis/${encodeURIComponent(name)}`), [low, high, from, to, known, log] = new Float64Array(bytes, 0, HEAD);
    axes.set(name, { name, low, high, middle: [from, to], known, log: !!log, steps: new Uint16Array(bytes, HEAD * 8) });
  }
  return axes.get(name);
};
const wider = ([low, high]) => { const span = high - low || Math.abs(high) || 1; return [low - 0.04 * span, high + 0.04 * span]; };
const rangeOf = (axis, kept) => {
  if (chosen.view === "all" || axis.known < 3) return wider([axis.low, axis.high]);
  if (chosen.view === "middle") { const [low, high] = axis.middle, span = high - low; return wider([Math.max(axis.low, low - 0.05 * span), Math.min(axis.high, high + 0.05 * span)]); }
  let low = UNKNOWN, high = -1;
  for (let row = 0; row < kept.length; row++) if (kept[row] && axis.steps[row] !== UNKNOWN) { low = Math.min(low, axis.steps[row]); high = Math.max(high, axis.steps[row]); }
  const at = step => axis.low + step / (UNKNOWN - 1) * (axis.high - axis.low);
  return high < 0 ? wider([axis.low, axis.high]) : wider([at(low), at(high)]);
};

// Colours
const rgb = (red, green, blue) => (0xff000000 | blue << 16 | green << 8 | red) >>> 0;
const css = name => {
  const probe = make("span", { className: `probe ${name}` });
  byId("map").append(probe);
  const found = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  return found.slice(0, 3);
};
const ramp = place => {
  const at = Math.min(RAMP.length - 1.001, Math.max(0, place) * (RAMP.length - 1)), from = RAMP[Math.floor(at)], to = RAMP[Math.floor(at) + 1], part = at % 1;
  return from.map((value, side) => Math.round(value + part * (to[side] - value)));
};
const coloured = async () => {
  const faint = css("faint"), rows = state.codes.length;
  if (chosen.colour === "decision") {
    const parts = [["undecided", css("open")], ["accepted", css("yes")], ["rejected", css("no")]];
    return { colours: state.codes, parts, palette: [...parts.map(([, each]) => rgb(...each)), rgb(...faint)] };
  }
  const axis = await loadAxis(chosen.colour);
  if (facts.flags.includes(chosen.colour)) {
    const parts = [[`not ${chosen.colour}`, css("open")], [chosen.colour, css("accent")]];
    return { colours: Uint8Array.from(axis.steps, step => step ? 1 : 0), parts, palette: [...parts.map(([, each]) => rgb(...each)), rgb(...faint)] };
  }
  const [from, to] = axis.middle, colours = new Uint8Array(rows);
  for (let row = 0; row < rows; row++) colours[row] = axis.steps[row] === UNKNOWN ? 64 : Math.max(0, Math.min(63, Math.floor((valueAt(axis, row) - from) / (to - from || 1) * 64)));
  const parts = [0, 0.25, 0.5, 0.75, 1].map(place => [figure(fromAxis(axis, from + place * (to - from))), ramp(place)]);
  return { colours, parts: [...parts, ["unknown", css("open")]], palette: [...Array.from({ length: 64 }, (_, step) => rgb(...ramp(step / 63))), rgb(...css("open")), rgb(...faint)] };
};
const legend = parts => byId("map-legend").replaceChildren(...parts.map(([text, colour]) => {
  const mark = make("span", { className: "dot" });
  mark.style.background = `rgb(${colour.join(",")})`;
  return make("span", { className: "key" }, mark, text);
}), make("span", { className: "key" }, make("span", { className: "dot faint" }), "not in the filter"));

// The lasso, as it stands in the address: two columns, then x and y of each corner.
const lassoOf = () => {
  const [x, y, ...values] = filters.field("lasso").value.split(",");
  if (!values.length) return null;
  return { x, y, points: Array.from({ length: values.length >> 1 }, (_, at) => [+values[2 * at], +values[2 * at + 1]]) };
};
const setLasso = corners => {
  const [x, y] = [axes.get(chosen.x), axes.get(chosen.y)];
  const values = corners.flatMap(([a, b]) => [fromAxis(x, a), fromAxis(y, b)]).map(value => +value.toPrecision(6));
  filters.setAll({ lasso: [chosen.x, chosen.y, ...values].join(",") });
};

const dotOf = rows => rows > MANY ? 1 : rows > SOME ? 2 : 4;
const draw = async () => {
  const began = performance.now(), rows = state.codes.length, kept = new Uint8Array(rows);
  for (const row of state.order) kept[row] = 1;
  const [x, y, colour] = await Promise.all([loadAxis(chosen.x), loadAxis(chosen.y), coloured()]);
  if (x.steps.length !== rows || y.steps.length !== rows) return;  // more of the run came meanwhile
  const lasso = lassoOf(), own = lasso && lasso.x === chosen.x && lasso.y === chosen.y;
  const wanted = {
    x, y, xView: rangeOf(x, kept), yView: rangeOf(y, kept), xName: filters.nameOf(chosen.x), yName: filters.nameOf(chosen.y), kept, ...colour,
    dot: dotOf(rows), keptDot: dotOf(state.order.length), mostPoints: Math.min(60, facts.most_points), pinned,
    lasso: own ? lasso.points.map(([a, b]) => [toAxis(x, a), toAxis(y, b)]) : null,
  };
  const sums = plot.draw(wanted);
  legend(colour.parts);
  const said = [`${count(state.order.length)} of ${count(rows)} candidates pass the filter`, lasso ? `inside the lasso on ${filters.nameOf(lasso.x)} and ${filters.nameOf(lasso.y)}` : "",
    sums.outside ? `${count(sums.outside)} lie outside this view` : "", sums.unknown ? `${count(sums.unknown)} have no value here` : ""].filter(Boolean).join("; ");
  byId("map-said").textContent = `${said}.`;
  plot.canvas.setAttribute("aria-label", `Map of the candidates: ${wanted.xName} across, ${wanted.yName} upwards. ${said}. The fields below the map filter by numbers.`);
  fillBounds();
  document.documentElement.dataset.map = (performance.now() - began).toFixed(0);
};

// The keyboard's way: the bounds of both columns as numbers.
const fillBounds = () => {
  for (const side of ["x", "y"]) for (const end of ["min", "max"]) {
    const input = byId(`map-${side}-${end}`), axis = axes.get(chosen[side]), extent = state.facts.numbers[chosen[side]];
    input.setAttribute("aria-label", `${filters.nameOf(chosen[side])}, ${end === "min" ? "least" : "greatest"}`);
    input.placeholder = extent ? figure(extent[end === "min" ? 0 : 1]) : "–";
    if (document.activeElement !== input) input.value = filters.field(`${axis.name}_${end}`)?.value ?? "";
  }
  for (const side of ["x", "y"]) byId(`map-${side}-name`).textContent = filters.nameOf(chosen[side]);
};

const card = async row => {
  shown = row;
  const box = byId("map-card");
  if (row < 0) { box.replaceChildren(make("p", { className: "legend" }, "Point at a candidate to see it, click to keep it here. Drag around candidates to filter them.")); return; }
  await loadPairs([row]);
  if (shown !== row) return;
  const made = candidateOf(row);
  if (!made) return;
  box.replaceChildren(
    make("p", { className: "card-name" }, made.of.id), make("p", { className: "legend" }, `candidate ${made.k} · ${told(made).split(", ").pop()}${made.selected ? " · selected" : ""}`),
    make("div", { className: "card-pictures" }, make("figure", {}, make("img", { src: picture("real", row, 200), alt: "real photo" }), make("figcaption", {}, "real photo")),
      make("figure", {}, make("img", { src: picture("candidate", row, 200), alt: told(made) }), make("figcaption", {}, `candidate ${made.k}`))),
    make("dl", { className: "card-figures" }, ...[...new Set([chosen.x, chosen.y, "p_composite", "fmse"])].map(name => make("div", {}, make("dt", {}, filters.nameOf(name)), make("dd", {}, figure(made[name]))))),
    made.of.like ? make("p", { className: "legend" }, `Same photo as ${made.of.like.id} (${made.of.like.kind}).`) : "",
    make("button", { type: "button", onclick: () => open(row) }, "Open in Review"));
};
const point = row => {
  if (row === hovered) return;
  hovered = row;
  clearTimeout(timer);
  timer = setTimeout(() => card(row < 0 ? pinned : row).catch(() => {}), row < 0 ? 400 : 60);
};
const pick = row => { pinned = row; plot.pin(row); card(row).catch(error => say(error.message, "bad")); };

// Measurements
const begin = async body => {
  try { facts.measurements = await post("/api/measure", body); } catch (error) { say(error.message, "bad"); }
  measurements();
};
const measurements = () => {
  const running = Object.values(facts.measurements).some(each => each.state === "running");
  byId("map-measure").replaceChildren(...Object.entries(KINDS).map(([kind, [name, about]]) => {
    const each = facts.measurements[kind], work = each.state === "running", done = each.state === "done";
    const share = each.total ? each.done / each.total : 0, said = each.facts || {};
    const words = work ? (each.total ? `${count(each.done)} of ${count(each.total)} pairs${each.done >= each.total ? ", finishing" : ""}` : "starting") : done ? ["measured", said.judge ? `judge ${said.judge}; the two axes hold ${figure(100 * said.share[0], 0)} % and ${figure(100 * said.share[1], 0)} % of the variance` : "", said.unreadable ? `${count(said.unreadable)} could not be read` : ""].filter(Boolean).join("; ") : each.message || "not measured yet";
    const bar = make("progress", { "aria-label": `${name}: progress` });
    if (each.total) { bar.max = 1; bar.value = share; }
    return make("div", { className: "measure" }, make("div", {}, make("p", { className: "strong-line" }, name), make("p", { className: "legend" }, about), make("p", { className: each.state === "failed" ? "wrong" : "legend" }, words), work ? bar : null),
      work ? make("button", { type: "button", onclick: () => begin({ stop: true }) }, "Stop") : done ? null
        : make("button", { type: "button", name: `measure-${kind}`, disabled: running || !facts.whole, onclick: () => begin({ kind }) }, each.state === "stopped" || each.state === "failed" ? "Resume" : "Measure"));
  }));
  clearTimeout(polling);
  if (running) polling = setTimeout(async () => { try { facts.measurements = (await get("/api/overview")).measurements; } catch (error) { return; } if (!byId("map").hidden) measurements(); }, 700);
};

// The set as a whole
const percent = share => `${figure(100 * share, 1)} %`;
const bar = (share, kind) => { const node = make("span", { className: `bar-of ${kind}` }); node.style.width = `${100 * share}%`; return node; };
const only = (values, text) => make("button", { type: "button", onclick: () => filters.setAll({ scope: "all", decided: "any", lasso: "", ...values }) }, text);
const balance = () => {
  const { bins, changes, medians, source, medians_source, selected } = facts.balance, lacking = bins.filter(each => each.lacks);
  byId("map-balance").replaceChildren(
    make("h2", {}, "What the selection lacks"),
    make("p", {}, !selected ? "Nothing is selected." : lacking.length ? `Too few foregrounds of ratio ${lacking.map(each => each.name).join(" and ")}: under half of iHarmony4’s share.` : "Each bin of foreground ratio has at least half of iHarmony4’s share."),
    make("p", { className: "keys" }, make("span", { className: "key" }, make("span", { className: "dot own" }), "this run’s selection"), make("span", { className: "key" }, make("span", { className: "dot published" }), "iHarmony4")),
    make("div", { className: "bins" }, ...bins.map(each => make("div", { className: `bin${each.lacks ? " lacks" : ""}` },
      make("p", { className: "strong-line" }, `foreground ratio ${each.name}${each.lacks ? ": too few" : ""}`),
      make("div", { className: "bars" }, bar(each.share, "own"), bar(each.published, "published")),
      make("p", { className: "legend" }, `${count(each.count)} selected, ${percent(each.share)}; iHarmony4 ${percent(each.published)}; Human Harmony ${percent(each.human_harmony)}`),
      only({ fg_ratio_min: each.low, fg_ratio_max: each.high }, "Show candidates of this bin")))),
    make("table", {}, make("caption", {}, "Mean fMSE: how strong the changes are"), make("thead", {}, make("tr", {}, ...["subset", "selected", "this run", "iHarmony4"].map(each => make("th", { scope: "col" }, each)))),
      make("tbody", {}, ...changes.map(each => make("tr", {}, make("td", {}, each.subset), make("td", { className: "number" }, count(each.count)), make("td", { className: "number" }, figure(each.fmse, 0)), make("td", { className: "number" }, figure(each.published, 0)))))),
    make("table", {}, make("caption", {}, "Medians of the change inside the mask"), make("thead", {}, make("tr", {}, ...["figure", "this run", "authentic composites"].map(each => make("th", { scope: "col" }, each)))),
      make("tbody", {}, ...medians.map(each => make("tr", {}, make("td", {}, FIGURES[each.figure]), make("td", { className: "number" }, each.median === null ? "not measured" : figure(each.median)), make("td", { className: "number" }, figure(each.authentic)))))),
    make("p", { className: "legend" }, `${source} ${medians_source} Of the change only means are published, so the page names no bin of it as lacking. This run’s figures are taken at its pictures’ own size.`));
};
const duplicates = () => {
  const { pixels, photo, near, told: said } = facts.duplicates;
  byId("map-duplicates").replaceChildren(make("h2", {}, "Duplicates"), ...said.slice(0, near ? 3 : 2).map(each => make("p", {}, each)),
    ...(near ? [] : [make("p", {}, "Photos under several ids have not been looked for yet. Press “Measure” at that line below.")]),
    make("p", { className: "row" }, pixels ? only({ duplicates: "pixels" }, `Equal pixels (${count(pixels)})`) : null, photo ? only({ duplicates: "photo" }, `Photo and mask twice (${count(photo)})`) : null,
      near && near.pairs ? only({ duplicates: "near" }, `Photos under several ids (${count(near.pairs)})`) : null, near && near.again ? only({ duplicates: "again" }, `All but the first (${count(near.again)})`) : null));
};

const pickOf = (side, label, options) => {
  const select = make("select", { name: `map-${side}`, onchange: () => { chosen[side] = select.value; if (side === "x" || side === "y") pinned = -1; changed(); } }, ...options.map(([value, text]) => make("option", { value }, text)));
  select.value = chosen[side];
  return make("label", { className: "pick" }, make("span", { className: "legend" }, label), select);
};
let noted = () => {};
export const onChange = act => { noted = act; };
const changed = () => { noted(); draw().catch(error => say(error.message, "bad")); };
const boundsOf = side => make("span", { className: "row" }, make("span", { className: "legend", id: `map-${side}-name` }), ...["min", "max"].flatMap((end, at) => [at ? "to" : "", make("input", { type: "number", step: "any", id: `map-${side}-${end}`, onchange: event => filters.setAll({ [`${chosen[side]}_${end}`]: event.target.value }) })]));
const choose = () => {
  const fallback = facts.axes.includes("dl") ? ["db", "dl"] : ["shift_r", "shift_b"];
  ["x", "y"].forEach((side, at) => { if (!facts.axes.includes(chosen[side])) chosen[side] = fallback[at]; });
  if (!["decision", ...facts.flags, ...facts.axes].includes(chosen.colour)) chosen.colour = "decision";
  if (!(chosen.view in VIEWS)) chosen.view = "middle";
};
const build = () => {
  const page = byId("map"), columns = facts.axes.map(name => [name, filters.nameOf(name)]);
  plot ||= makePlot({ onLasso: setLasso, onPoint: point, onPick: pick });
  page.replaceChildren(
    make("div", { className: "map-tools", role: "group", "aria-label": "What the map shows" }, pickOf("x", "Across", columns), pickOf("y", "Upwards", columns),
      pickOf("colour", "Colour", [["decision", "decision"], ...facts.flags.map(each => [each, each]), ...columns]), pickOf("view", "Range", Object.entries(VIEWS))),
    make("div", { className: "map-desk" }, make("div", { className: "map-left" }, plot.node, make("p", { id: "map-legend", className: "keys" }), make("p", { id: "map-said", "aria-live": "polite" }),
      make("div", { className: "map-bounds", role: "group", "aria-label": "Filter by numbers" }, boundsOf("x"), boundsOf("y"))), make("div", { className: "map-card", id: "map-card" })),
    make("div", { className: "map-more" }, make("section", { id: "map-balance" }), make("section", {}, make("div", { id: "map-duplicates" }), make("h2", {}, "Measure"), make("div", { id: "map-measure" }))));
  card(pinned);
};
export const showMap = async () => {
  facts = await get("/api/overview");
  const now = `${state.facts.version} ${facts.candidates} ${facts.axes.length}`;
  if (now !== version) { axes.clear(); version = now; pinned = -1; }
  choose();
  build();
  balance();
  duplicates();
  measurements();
  await draw();
};
export const follow = async () => {
  if (!facts || byId("map").hidden) return;
  await draw();
  if (shown >= 0) await card(shown);
};
new ResizeObserver(() => { if (facts && plot && !byId("map").hidden) draw().catch(() => {}); }).observe(byId("map"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { follow().catch(() => {}); });
