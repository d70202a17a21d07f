// The run: pairs with their candidates in line for selection, and where each picture lies in the blocks of text below.
const byId = id => document.getElementById(id);
const run = JSON.parse(byId("run").textContent);
const candidates = [];
const pairs = run.pairs.map(([id, subset, aspect, ratio, width, height, box, entry, tiles], index) => {
  const pair = { index, id, subset, aspect, ratio, width, height, box, photo: entry, outline: entry + 1 };
  pair.candidates = tiles.map(([k, score, gate, selected, review, fmse, judged = [], decidedBy = ""], place) => {
    const made = { index: candidates.length, pair, place, k, score, gate, selected: !!selected, review, fmse, judged, decidedBy };
    made.picture = entry + 2 + place;
    candidates.push(made);
    return made;
  });
  return pair;
});
const pairOf = new Map(pairs.map(pair => [pair.id, pair]));
const figure = (value, digits = 3) => value === null ? "–" : value.toFixed(digits);
const scoresOf = made => [`score ${figure(made.score)}`, ...run.judges.map((name, at) => `${name} ${figure(made.judged[at])}`)];
const count = value => value.toLocaleString("en");

// A block is split into its entries when one is asked for; null while the page has not come to it yet.
const blocks = new Map();
const linesOf = number => {
  if (blocks.has(number)) return blocks.get(number);
  const block = byId(`block-${number}`);
  if (!block || (document.readyState === "loading" && !block.nextElementSibling)) return null;
  if (blocks.size > 63) blocks.delete(blocks.keys().next().value);
  blocks.set(number, block.textContent.split("\n"));
  return blocks.get(number);
};
const entryOf = entry => {
  const lines = linesOf(Math.floor(entry / run.block));
  return lines && lines[entry % run.block];
};

// Pictures of entries that are not there yet are painted as soon as they are.
const waiting = new Set();
const paint = (image, entry) => {
  const text = entryOf(entry);
  image.dataset.entry = entry;
  waiting.delete(image);
  image.parentElement.classList.toggle("gone", text === "");
  if (text) image.src = `data:image/webp;base64,${text}`;
  else image.removeAttribute("src");
  if (text === null) waiting.add(image);
  return text;
};
const paintWaiting = () => {
  [...waiting].filter(image => image.isConnected || waiting.delete(image) && false)
    .forEach(image => paint(image, +image.dataset.entry));
  return waiting.size;
};
