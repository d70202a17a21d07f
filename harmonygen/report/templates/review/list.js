// The queue: only the cells that are in view exist.
const queue = (() => {
  const box = byId("queue"), canvas = box.firstElementChild, cells = new Map();
  const gap = 8, caption = 22, least = 92;
  let items = [], at = new Map(), current = null, columns = 3, width = 96, rowHeight = 100;

  const measure = () => {
    const room = box.clientWidth - gap;
    columns = Math.max(2, Math.floor(room / (least + gap)));
    width = Math.floor(room / columns) - gap;
    rowHeight = Math.round(width * 0.75) + caption + gap;
    canvas.style.height = `${Math.ceil(items.length / columns) * rowHeight + gap}px`;
  };
  const cell = made => {
    const node = document.createElement("div");
    node.className = "cell";
    node.id = `cell-${made.index}`;
    node.setAttribute("role", "option");
    node.dataset.index = made.index;
    node.innerHTML = '<span class="im"><img alt=""></span><span class="mark" aria-hidden="true"></span><span class="score"></span>';
    return node;
  };
  const dress = (node, made, place) => {
    const verdict = verdictOf(made);
    node.style.cssText = `width:${width}px;height:${rowHeight - gap}px;left:${gap + (place % columns) * (width + gap)}px;top:${gap + Math.floor(place / columns) * rowHeight}px`;
    node.className = `cell ${verdict}${made === current ? " current" : ""}${made.gate ? " gated" : ""}`;
    node.querySelector(".mark").textContent = { accept: "✓", reject: "✗" }[verdict] || "";
    node.querySelector(".score").textContent = lens(made) === null ? `k${made.k}` : figure(lens(made), 2);
    node.setAttribute("aria-selected", made === current);
    node.setAttribute("aria-posinset", place + 1);
    node.setAttribute("aria-setsize", items.length);
    node.setAttribute("aria-label", told(made));
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / rowHeight) - 1) * columns;
    const last = Math.min(items.length, (Math.ceil((box.scrollTop + box.clientHeight) / rowHeight) + 1) * columns);
    const wanted = new Set(items.slice(first, last));
    for (const [made, node] of cells) if (!wanted.has(made)) { node.remove(); cells.delete(made); }
    for (let place = first; place < last; place++) {
      const made = items[place], known = cells.get(made), node = known || cell(made);
      dress(node, made, place);
      const there = canvas.children[place - first] || null;
      if (there !== node) canvas.insertBefore(node, there);  // in order, as a reader of the page would have them
      if (known) continue;
      cells.set(made, node);
      paint(node.querySelector("img"), made.picture);
    }
    if (cells.has(current)) box.setAttribute("aria-activedescendant", `cell-${current.index}`);
    else box.removeAttribute("aria-activedescendant");
  };
  const reveal = () => {
    const place = at.get(current);
    if (place === undefined) return;
    const top = Math.floor(place / columns) * rowHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + rowHeight + gap > box.scrollTop + box.clientHeight) box.scrollTop = top + rowHeight + gap - box.clientHeight;
  };
  const fill = (wanted, chosen) => {
    items = wanted;
    at = new Map(items.map((made, place) => [made, place]));
    current = chosen;
    measure();
    reveal();
    draw();
  };
  box.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  new ResizeObserver(() => { measure(); draw(); }).observe(box);
  box.addEventListener("click", event => {
    const node = event.target.closest(".cell");
    if (node) go(candidates[+node.dataset.index]);
  });
  return { fill, at: made => at.get(made), cells: () => cells.size };
})();
