// What the server knows, as this page holds it: the rows in view, a decision for every row, details of pairs looked at.
export const state = {
  facts: null, reviewer: "", query: new URLSearchParams(),
  order: new Uint32Array(0), placeOf: new Map(), codes: new Uint8Array(0), starts: new Uint32Array(0), pairAt: new Uint32Array(0),
  pairs: new Map(), pairOfRow: new Map(),
};
export const OPEN = 0, ACCEPT = 1, REJECT = 2;
export const DECISIONS = ["", "accept", "reject"];

const asked = async (path, options) => {
  let answer;
  try { answer = await fetch(path, { priority: "high", ...options }); } catch (error) { throw new Error("the server does not answer: is it still running?"); }
  if (answer.ok) return answer;
  let text = await answer.text();
  try { text = JSON.parse(text).error; } catch (error) { /* plain text */ }
  throw new Error(text);
};
const withReviewer = more => new URLSearchParams({ ...Object.fromEntries(more || []), reviewer: state.reviewer });
export const get = async path => (await asked(path)).json();
export const getBytes = async path => (await asked(path)).arrayBuffer();
export const post = async (path, body) => (await asked(path, {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ reviewer: state.reviewer, ...body }),
})).json();

export const loadFacts = async () => { state.facts = await get(`/api/run?${withReviewer()}`); return state.facts; };
export const loadCodes = async () => { state.codes = new Uint8Array(await (await asked(`/api/codes?${withReviewer()}`)).arrayBuffer()); };
// Where the rows of each pair begin, and so the pair of each row.
export const loadStarts = async () => {
  state.starts = new Uint32Array(await (await asked("/api/starts")).arrayBuffer());
  state.pairAt = new Uint32Array(state.starts[state.starts.length - 1]);
  for (let pair = 0; pair + 1 < state.starts.length; pair++) state.pairAt.fill(pair, state.starts[pair], state.starts[pair + 1]);
};
export const setOrder = order => {
  state.order = order;
  state.placeOf = null;
};
// Where a row stands in the queue: made when it is first asked for, since a filter may be changed again before.
export const placeOf = row => {
  if (!state.placeOf) {
    state.placeOf = new Map();
    state.order.forEach((each, place) => state.placeOf.set(each, place));
  }
  return state.placeOf.get(row);
};
let asking = 0;
export const loadOrder = async () => {
  const number = ++asking;
  const rows = new Uint32Array(await (await asked(`/api/rows?${withReviewer(state.query)}`)).arrayBuffer());
  if (number !== asking) return false;  // a later filter was quicker
  setOrder(rows);
  return true;
};

const keep = pair => {
  state.pairs.set(pair.pair, pair);
  for (const made of pair.candidates) { made.of = pair; state.pairOfRow.set(made.row, pair); }
};
export const forgetPairs = () => { state.pairs.clear(); state.pairOfRow.clear(); };
export const loadPairs = async rows => {
  const missing = [...new Set(rows)].filter(row => !state.pairOfRow.has(row));
  for (let begin = 0; begin < missing.length; begin += 100) {
    const some = missing.slice(begin, begin + 100);
    (await get(`/api/pairs?rows=${some.join(",")}&${withReviewer()}`)).forEach(keep);
  }
  if (state.pairs.size > 4000) forgetPairs();
};
export const refreshPairs = async rows => {
  (await get(`/api/pairs?rows=${[...new Set(rows)].slice(0, 100).join(",")}&${withReviewer()}`)).forEach(keep);
};
export const candidateOf = row => {
  const pair = state.pairOfRow.get(row);
  return pair && pair.candidates.find(made => made.row === row);
};

const digest = () => state.facts.plan_digest.slice(0, 12);
export const picture = (kind, row, height) => `/picture/${kind}/${row}?v=${digest()}${height ? `&height=${height}` : ""}`;
const outlines = new Map();
export const outlineOf = pair => {
  if (!outlines.has(pair)) {
    if (outlines.size > 500) outlines.clear();
    outlines.set(pair, get(`/api/outline/${pair}`).catch(() => null));
  }
  return outlines.get(pair);
};

export const byId = id => document.getElementById(id);
export const button = name => document.querySelector(`button[name="${name}"]`);
export const count = number => number.toLocaleString("en");
export const figure = (value, digits = 3) => value === null || value === undefined ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(digits);
export const make = (name, more = {}, ...inside) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(more)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && typeof value !== "string") node[key] = value;
    else node.setAttribute(key === "className" ? "class" : key, value);
  }
  node.append(...inside.filter(each => each !== null && each !== undefined));
  return node;
};
let fading;
export const say = (text, kind = "") => {
  const toast = byId("toast");
  toast.textContent = text;
  toast.className = `toast on ${kind}`;
  clearTimeout(fading);
  fading = setTimeout(() => toast.classList.remove("on"), kind === "bad" ? 12000 : 2600);
};
// The score of all judges, then each of several judges' own.
export const scoresOf = made => [`score ${figure(made.p_composite)}`, ...state.facts.judges.map(name => `${name} ${figure(made[`p_${name}`])}`)];
export const told = made => {
  const verdict = ["undecided", "accepted", "rejected"][state.codes[made.row] || 0];
  return `${made.of.id}, candidate ${made.k}, ${scoresOf(made).join(", ")}, ${made.gate ? `refused by gate ${made.gate}, ` : ""}${verdict}`;
};
