// Filters and order, as they stand in the page's address: every control is a parameter of the same name.
import { state, byId, make, figure } from "/net.js";

const form = byId("filters"), PLAIN = ["scope", "decided", "gate", "judge", "subset", "duplicates", "tag", "sort", "find", "lasso"];
const DEFAULTS = { scope: "selected", decided: "any", gate: "", judge: "", subset: "", duplicates: "any", tag: "", sort: "run", find: "", lasso: "" };
const NAMES = {
  p_composite: "score", fmse: "fMSE", structure: "structure", clipped: "clipped", drift: "drift",
  fg_ratio: "foreground ratio", margin: "margin of the two best scores", twin: "colour distance to the nearest in its pair",
  shift_r: "mean change of red", shift_g: "mean change of green", shift_b: "mean change of blue",
  dl: "change of lightness L", da: "change of a, green to red", db: "change of b, blue to yellow", contrast: "change of contrast, log2",
  judge_x: "judge’s first component", judge_y: "judge’s second component",
};
const TIES = 0.01;
export const nameOf = column => NAMES[column] || column.replace(/^p_/, "score of ");
export const field = name => form.elements.namedItem(name);
let changed = () => {};

const options = (name, values, label = value => value) => {
  const select = field(name), kept = select.value, known = new Set([...select.options].map(each => each.value));
  for (const value of values) if (!known.has(value)) select.append(make("option", { value }, label(value)));
  select.value = kept;
};
const bound = (column, extent) => {
  const ends = ["min", "max"].map(end => make("input", {
    type: "number", name: `${column}_${end}`, step: "any", "aria-label": `${nameOf(column)}, ${end === "min" ? "least" : "greatest"}`,
    placeholder: extent ? figure(extent[end === "min" ? 0 : 1]) : "–",
  }));
  const tie = column === "margin" ? make("button", { type: "button", name: "ties", onclick: () => { ends[1].value = TIES; changed(); } }, `near ties: under ${TIES}`) : null;
  return make("div", { className: "bound" }, make("span", { className: "legend" }, nameOf(column)), make("span", { className: "row" }, ends[0], "to", ends[1]), tie);
};
// Make what depends on the run: its gates, subsets, tags and columns.
export const prepare = facts => {
  options("gate", facts.gates);
  options("judge", facts.deciders);
  options("subset", facts.subsets);
  options("tag", facts.tags);
  byId("subset-pick").hidden = !facts.subsets.length;
  byId("judge-pick").hidden = !facts.judges.length;
  if (facts.copies) options("duplicates", ["near", "again"], value => value === "near" ? "photo under several ids" : "the same photo again");
  const bounds = byId("bounds");
  bounds.append(...Object.entries(facts.numbers).filter(([column]) => !field(`${column}_min`)).map(([column, extent]) => bound(column, extent)));
  options("sort", ["-run"], () => "as in the run, last first");
  options("sort", Object.keys(facts.numbers).flatMap(column => [column, `-${column}`]),
    value => `${nameOf(value.replace(/^-/, ""))}, ${value.startsWith("-") ? "high" : "low"} first`);
};
export const read = () => {
  const query = new URLSearchParams();
  for (const name of PLAIN) if (field(name).value !== DEFAULTS[name]) query.set(name, field(name).value);
  for (const input of byId("bounds").querySelectorAll("input")) if (input.value !== "") query.set(input.name, input.value);
  return query;
};
export const write = query => {
  for (const name of PLAIN) {
    const value = query.get(name) ?? DEFAULTS[name];
    if (name !== "scope" && field(name).options && ![...field(name).options].some(each => each.value === value)) field(name).append(make("option", { value }, value));
    field(name).value = value;
  }
  for (const input of byId("bounds").querySelectorAll("input")) input.value = query.get(input.name) ?? "";
};
const told = () => {
  const set = [...byId("bounds").querySelectorAll("input")].filter(input => input.value !== "").length;
  byId("bounded").textContent = set ? `(${set} set)` : "";
  byId("lassoed").hidden = !field("lasso").value;
};
const OWN = new Set([...PLAIN]);
// Of an address, the part that is a filter.
export const filterOf = address => new URLSearchParams([...address].filter(([name]) => OWN.has(name) || /_(min|max)$/.test(name)));
export const start = act => {
  let typing = 0;
  changed = () => { state.query = read(); told(); act(); };
  form.addEventListener("input", event => {
    clearTimeout(typing);
    if (event.target.matches("[type=search], [type=number]")) typing = setTimeout(changed, 200); else changed();
  });
  form.addEventListener("submit", event => { event.preventDefault(); clearTimeout(typing); changed(); });
  state.query = read();
  told();
};
export const choose = (name, value) => { field(name).value = value; changed(); };
export const setAll = values => { for (const [name, value] of Object.entries(values)) field(name).value = value; changed(); };
export const reset = () => { write(new URLSearchParams({ scope: field("scope").value })); changed(); };
