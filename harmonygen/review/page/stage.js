// The desk: photo and candidate side by side, under a slider, or in turn; zoomed and moved together.
import { state, byId, make, picture, outlineOf, told, scoresOf, figure } from "/net.js";

const views = byId("views"), panes = [...views.querySelectorAll(".pane")], zoomed = byId("zoom"), split = byId("split");
const photo = views.querySelector(".real"), candidate = views.querySelector(".candidate");
const MASKS = ["photo", "both", "tint", "none"], VIEWS = ["two", "split", "flick"];
const LARGE = 1400;  // pixels: larger pictures are shown shrunk until they are zoomed
let made = null, scale = 0, x = 0, y = 0, ticket = 0, flicking = 0, held = false;

// Geometry: `scale` is CSS pixels per picture pixel, 0 while the picture is fitted; x and y are its corner in the pane.
const size = () => [made ? made.of.width : 1, made ? made.of.height : 1];
const pane = () => candidate.querySelector(".pane");
const fitted = () => { const [w, h] = size(), box = pane(); return Math.min(box.clientWidth / w, box.clientHeight / h) || 1; };
const own = () => 1 / devicePixelRatio;
const place = () => {
  const [w, h] = size(), box = pane(), now = scale || fitted();
  const free = [box.clientWidth - w * now, box.clientHeight - h * now];
  x = free[0] >= 0 ? free[0] / 2 : Math.min(0, Math.max(free[0], x));
  y = free[1] >= 0 ? free[1] / 2 : Math.min(0, Math.max(free[1], y));
  for (const each of panes) {
    const sheet = each.querySelector(".sheet");
    sheet.style.width = `${w * now}px`;
    sheet.style.height = `${h * now}px`;
    sheet.style.transform = `translate(${x}px, ${y}px)`;
    sheet.classList.toggle("pixels", now > 2 * own());
  }
  cut();
  zoomed.textContent = scale ? `${Math.round(now / own() * 100)} %` : `fit, ${Math.round(now / own() * 100)} %`;
  if (scale) sharpen();
};
const cut = () => {
  const box = pane(), at = split.value / 100 * box.clientWidth, [w] = size(), now = scale || fitted();
  const layer = candidate.querySelector(".cut");
  layer.style.clipPath = views.dataset.view === "split" ? `inset(0 ${Math.max(0, Math.min(w * now, w * now - (at - x)))}px 0 0)` : "none";
};
export const zoomTo = (wanted, at) => {
  if (!made) return;
  const box = pane(), now = scale || fitted(), [cx, cy] = at || [box.clientWidth / 2, box.clientHeight / 2];
  const least = fitted(), next = wanted <= least * 1.001 ? 0 : Math.min(16 * own(), wanted), to = next || least;
  x = cx - (cx - x) * to / now;
  y = cy - (cy - y) * to / now;
  scale = next;
  place();
};
export const zoomBy = (factor, at) => zoomTo((scale || fitted()) * factor, at);
export const zoomOwn = () => zoomTo(scale ? 0 : own());

// Pictures: a shrunk one first where the photo is large, its own pixels as soon as it is zoomed.
const large = () => Math.max(...size()) > LARGE;
const shown = () => large() && !scale ? Math.ceil(LARGE * size()[1] / Math.max(...size())) : 0;
const paint = (image, address) => { if (image.getAttribute("src") !== address) image.src = address; };
const paintAll = height => {
  paint(photo.querySelector("img"), picture("real", made.of.candidates[0].row, height));
  paint(candidate.querySelector(".behind"), picture("real", made.of.candidates[0].row, height));
  paint(candidate.querySelector(".front"), picture("candidate", made.row, height));
};
const sharpen = () => { if (made && large()) paintAll(0); };
const tint = () => {
  if (!made || views.dataset.mask !== "tint") return;
  const address = `url("${picture("mask", made.of.candidates[0].row, Math.min(1024, made.of.height))}")`;
  for (const layer of views.querySelectorAll(".tint")) { layer.style.maskImage = address; layer.style.webkitMaskImage = address; }
};
const trace = async () => {
  const number = ticket, found = await outlineOf(made.of.pair);
  if (number !== ticket || !found) return;
  for (const drawing of views.querySelectorAll(".outline")) {
    drawing.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
    for (const line of drawing.children) line.setAttribute("d", found.path);
  }
};
export const ahead = next => {
  if (!next) return;
  const height = Math.max(next.of.width, next.of.height) > LARGE ? Math.ceil(LARGE * next.of.height / Math.max(next.of.width, next.of.height)) : 0;
  for (const address of [picture("candidate", next.row, height), picture("real", next.of.candidates[0].row, height)]) { const image = new Image(); image.fetchPriority = "low"; image.src = address; }
};

const strip = choose => {
  const tiles = byId("strip");
  byId("strip-title").textContent = `${made.of.candidates.length} candidates of this pair, by number key`;
  tiles.replaceChildren(...made.of.candidates.map(each => {
    const code = state.codes[each.row] || 0;
    const image = make("img", { alt: "", decoding: "async", fetchpriority: "low", src: picture("candidate", each.row, 96) });
    const node = make("button", { type: "button", className: `tile ${["", "accept", "reject"][code]}${each === made ? " current" : ""}${each.selected ? " selected" : ""}${each.gate ? " gated" : ""}`, title: [...(state.facts.judges.length ? scoresOf(each) : []), each.gate && `refused by gate ${each.gate}`].filter(Boolean).join(", ") },
      make("span", { className: "im" }, image), make("span", { className: "mark", "aria-hidden": "true" }, ["", "✓", "✗"][code]),
      make("span", { className: "c" }, `${each.k} · ${figure(each.p_composite)}`));
    node.setAttribute("aria-label", told(each));
    node.addEventListener("click", () => choose(each.row));
    node.querySelector(".im").style.setProperty("--a", made.of.width / made.of.height || 1);
    return node;
  }));
  const now = tiles.querySelector(".current");
  if (now) tiles.scrollLeft = Math.max(0, now.offsetLeft - tiles.clientWidth / 2);
};
const facts = () => {
  const pair = made.of, parts = [`${pair.width} × ${pair.height}`, pair.subset, `foreground ${figure(pair.fg_ratio * 100, 1)} %`,
    ...scoresOf(made), `fMSE ${figure(made.fmse, 0)}`, `structure ${figure(made.structure)}`, `clipped ${figure(made.clipped)}`];
  if (pair.margin !== null && pair.margin < 0.01) parts.push("near tie");
  if (pair.like) parts.push(`same photo as ${pair.like.id} (${pair.like.kind})`);
  if (made.gate) parts.push(`refused by gate ${made.gate}`);
  if (made.selected) parts.push("selected");
  if (made.decided_by) parts.push(`decided by ${made.decided_by}`);
  return parts.filter(Boolean).join(" · ");
};
export const show = (next, choose) => {
  const same = made && next && made.of === next.of;
  made = next;
  ticket++;
  byId("desk").classList.toggle("empty", !made);
  if (!made) return;
  if (!same) scale = 0;
  const code = state.codes[made.row] || 0;
  byId("desk").dataset.verdict = ["", "accept", "reject"][code];
  byId("pair").textContent = made.of.id;
  byId("facts").textContent = facts();
  byId("stamp").textContent = ["undecided", "✓ accepted", "✗ rejected"][code];
  byId("which").textContent = `candidate ${made.k}`;
  candidate.querySelector(".front").alt = told(made);
  place();
  paintAll(shown());
  tint();
  trace();
  strip(choose);
};
export const flip = on => { held = on; views.classList.toggle("flipped", on); };
export const painted = () => Promise.all([...views.querySelectorAll("img")].map(image => image.getAttribute("src") ? image.decode().catch(() => {}) : 0));
export const setMask = name => { views.dataset.mask = MASKS.includes(name) ? name : "photo"; byId("mask-choice").value = views.dataset.mask; tint(); };
export const setView = name => {
  views.dataset.view = VIEWS.includes(name) ? name : "two";
  byId("view-choice").querySelector(`[value=${views.dataset.view}]`).checked = true;
  clearInterval(flicking);
  views.classList.remove("flick");
  if (views.dataset.view === "flick") flicking = setInterval(() => { if (!held) views.classList.toggle("flick"); }, 600);
  place();
};
const following = (list, now) => list[(list.indexOf(now) + 1) % list.length];
export const nextMask = () => setMask(following(MASKS, views.dataset.mask));
export const nextView = () => setView(following(VIEWS, views.dataset.view));
export const viewed = () => ({ view: views.dataset.view, mask: views.dataset.mask });

for (const each of panes) {
  let from = null;
  each.addEventListener("wheel", event => {
    event.preventDefault();
    const box = each.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), [event.clientX - box.x, event.clientY - box.y]);
  }, { passive: false });
  each.addEventListener("pointerdown", event => {
    if (event.button || event.target === split) return;
    from = [event.clientX - x, event.clientY - y];
    each.setPointerCapture(event.pointerId);
  });
  each.addEventListener("pointermove", event => { if (from) { [x, y] = [event.clientX - from[0], event.clientY - from[1]]; place(); } });
  for (const end of ["pointerup", "pointercancel"]) each.addEventListener(end, () => { from = null; });
  each.addEventListener("dblclick", event => { const box = each.getBoundingClientRect(); zoomTo(scale ? 0 : own(), [event.clientX - box.x, event.clientY - box.y]); });
}
split.addEventListener("input", cut);
new ResizeObserver(place).observe(views);
addEventListener("blur", () => flip(false));
