// Decisions: in memory, in the browser's own store (one item per pair, so that a decision writes a few bytes), in a file.
const prefix = `harmonygen.review/${run.digest || run.folder}/`;
const verdicts = new Map();  // pair id -> Map of k -> "accept" | "reject"
const history = [];  // each step: [[pair id, k, before, after], ...]
let saved = true;
const letters = { accept: "a", reject: "r" }, words = { a: "accept", r: "reject" };

const verdictAt = (id, k) => (verdicts.get(id) || new Map()).get(k) || "";
const verdictOf = made => verdictAt(made.pair.id, made.k);
const put = (id, k, verdict) => {
  if (!verdicts.has(id)) verdicts.set(id, new Map());
  if (verdict) verdicts.get(id).set(k, verdict); else verdicts.get(id).delete(k);
  if (!verdicts.get(id).size) verdicts.delete(id);
};
const encode = id => [...verdicts.get(id) || []].map(([k, verdict]) => k + letters[verdict]).join(" ");
const decode = (id, text) => {
  verdicts.delete(id);
  for (const [, k, letter] of (text || "").matchAll(/(\d+)([ar])/g)) put(id, +k, words[letter]);
};
const save = ids => {
  try {
    localStorage.setItem(prefix, "1");
    for (const id of ids) {
      const text = encode(id);
      if (text) localStorage.setItem(prefix + id, text); else localStorage.removeItem(prefix + id);
    }
    saved = true;
  } catch (error) {
    saved = false;
  }
  return saved;
};
const restore = () => {
  let begun = false;
  try {
    begun = localStorage.getItem(prefix) !== null;
    for (let at = 0; begun && at < localStorage.length; at++) {
      const key = localStorage.key(at);
      if (key.startsWith(prefix) && key !== prefix) decode(key.slice(prefix.length), localStorage.getItem(key));
    }
  } catch (error) {
    saved = false;
  }
  if (!begun) candidates.forEach(made => made.review && put(made.pair.id, made.k, made.review));
  return begun;
};

// One step of any number of changes; undo takes back the last step.
const apply = (changes, side) => changes.forEach(change => put(change[0], change[1], change[side]));
const step = changes => {
  const real = changes.filter(([, , before, after]) => before !== after);
  if (!real.length) return [];
  apply(real, 3);
  history.push(real);
  save(new Set(real.map(([id]) => id)));
  return real;
};
const unstep = () => {
  const changes = history.pop();
  if (!changes) return null;
  apply(changes, 2);
  save(new Set(changes.map(([id]) => id)));
  return changes;
};

const exported = () => {
  const place = id => pairOf.has(id) ? pairOf.get(id).index : Infinity;
  const ids = [...verdicts.keys()].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  const rows = ids.flatMap(id => [...verdicts.get(id)].sort((a, b) => a[0] - b[0])
    .map(([k, decision]) => ({ pair_id: id, k, decision })));
  return { harmonygen: run.version, folder: run.folder, plan_digest: run.digest, decisions: rows };
};
const download = () => {
  const link = document.createElement("a"), value = exported();
  link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 1) + "\n"], { type: "application/json" }));
  link.download = "decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return value.decisions.length;
};

// What a file says, as changes; throws an Error with a sentence for the reader.
const imported = text => {
  let value;
  try { value = JSON.parse(text); } catch (error) { throw new Error("this file is not JSON"); }
  if (!value || !Array.isArray(value.decisions)) throw new Error("this file holds no decisions");
  if (value.plan_digest !== run.digest) throw new Error(`these decisions are of another run (“${value.folder}”, plan ${value.plan_digest || "none"})`);
  return value.decisions.map((row, at) => {
    const { pair_id: id, k, decision } = row || {};
    if (typeof id !== "string" || !Number.isInteger(k) || k < 0 || !(decision in letters)) throw new Error(`decision ${at + 1} is malformed`);
    const pair = pairOf.get(id);
    if (run.whole && !(pair && pair.candidates.some(made => made.k === k))) throw new Error(`this run has no candidate ${k} of pair “${id}”`);
    return [id, k, verdictAt(id, k), decision];
  });
};
