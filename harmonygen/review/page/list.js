// The queue: only the cells that are in view exist, and details are asked for as they come into view.
import { state, byId, make, picture, placeOf, loadPairs, candidateOf, told, figure } from "/net.js";

const box = byId("queue"), canvas = box.firstElementChild, cells = new Map();
const gap = 8, caption = 20, least = 84;
let current = -1, columns = 3, width = 96, rowHeight = 100, choose = () => {}, timer = 0;

const measure = () => {
  const room = box.clientWidth - gap;
  columns = Math.max(2, Math.floor(room / (least + gap)));
  width = Math.floor(room / columns) - gap;
  rowHeight = Math.round(width * 0.75) + caption + gap;
  canvas.style.height = `${Math.ceil(state.order.length / columns) * rowHeight + gap}px`;
};
const cell = row => {
  const node = make("div", { className: "cell", id: `cell-${row}`, role: "option" },
    make("span", { className: "im" }, make("img", { alt: "", decoding: "async", fetchpriority: "low" })),
    make("span", { className: "mark", "aria-hidden": "true" }), make("span", { className: "score" }));
  node.dataset.row = row;
  return node;
};
const dress = (node, row, place) => {
  const code = state.codes[row] || 0, made = candidateOf(row);
  node.style.width = `${width}px`;
  node.style.height = `${rowHeight - gap}px`;
  node.style.left = `${gap + (place % columns) * (width + gap)}px`;
  node.style.top = `${gap + Math.floor(place / columns) * rowHeight}px`;
  node.className = `cell ${["", "accept", "reject"][code]}${row === current ? " current" : ""}${made && made.gate ? " gated" : ""}`;
  node.querySelector(".mark").textContent = ["", "✓", "✗"][code];
  node.querySelector(".score").textContent = made ? (made.p_composite === null ? `k${made.k}` : figure(made.p_composite)) : "…";
  node.setAttribute("aria-selected", row === current);
  node.setAttribute("aria-posinset", place + 1);
  node.setAttribute("aria-setsize", state.order.length);
  node.setAttribute("aria-label", made ? told(made) : `candidate ${place + 1}`);
};
export const draw = () => {
  const first = Math.max(0, Math.floor(box.scrollTop / rowHeight) - 1) * columns;
  const last = Math.min(state.order.length, (Math.ceil((box.scrollTop + box.clientHeight) / rowHeight) + 1) * columns);
  const rows = Array.from(state.order.subarray(first, last)), wanted = new Set(rows);
  for (const [row, node] of cells) if (!wanted.has(row)) { node.remove(); cells.delete(row); }
  rows.forEach((row, at) => {
    const known = cells.get(row), node = known || cell(row);
    dress(node, row, first + at);
    const there = canvas.children[at] || null;
    if (there !== node) canvas.insertBefore(node, there);
    if (known) return;
    cells.set(row, node);
    node.querySelector("img").src = picture("candidate", row, 96);
  });
  if (cells.has(current)) box.setAttribute("aria-activedescendant", `cell-${current}`);
  else box.removeAttribute("aria-activedescendant");
  clearTimeout(timer);
  if (rows.some(row => !state.pairOfRow.has(row))) timer = setTimeout(() => loadPairs(rows).then(draw), 60);
};
const reveal = () => {
  const place = placeOf(current);
  if (place === undefined) return;
  const top = Math.floor(place / columns) * rowHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + rowHeight + gap > box.scrollTop + box.clientHeight) box.scrollTop = top + rowHeight + gap - box.clientHeight;
};
export const fill = row => { current = row; measure(); reveal(); draw(); };
export const onChoose = act => { choose = act; };
box.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
new ResizeObserver(() => { measure(); draw(); }).observe(box);
box.addEventListener("click", event => {
  const node = event.target.closest(".cell");
  if (node) choose(+node.dataset.row);
});
