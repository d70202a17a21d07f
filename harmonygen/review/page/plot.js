// A scatter plot on a canvas: places come as 16-bit steps along each axis, so that 300,000 of them are drawn in one pass.
// A pixel has the colour of its last point, and is the stronger the more points it has.
import { make } from "/net.js";

export const UNKNOWN = 65535;
const STEPS = 65534, NEAR = 7, LEAST_DRAG = 4, MARGIN = { left: 52, right: 12, top: 10, bottom: 34 };
const SVG = "http://www.w3.org/2000/svg";
const svg = (name, more = {}, text = "") => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(more)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
};
export const toAxis = (axis, value) => axis.log ? Math.log1p(Math.max(0, value)) : value;
export const fromAxis = (axis, place) => axis.log ? Math.expm1(place) : place;
const LOG_TICKS = [0, 1, 10, 100, 300, 1000, 3000, 10000, 30000];
export const ticks = (axis, [low, high], count) => {
  if (axis.log) return LOG_TICKS.map(value => [Math.log1p(value), value.toLocaleString("en")]).filter(([place]) => place >= low && place <= high);
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find(each => each * power >= raw) * power;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
  for (let place = Math.ceil(low / step) * step; place <= high + step * 1e-9; place += step) found.push([place, (Math.abs(place) < step / 2 ? 0 : place).toFixed(digits)]);
  return found;
};

// Douglas and Peucker: leave out the corners that lie within `apart` pixels of the line between their neighbours.
const thinned = (points, apart) => {
  if (points.length < 3) return points;
  const [[ax, ay], [bx, by]] = [points[0], points[points.length - 1]], length = Math.hypot(bx - ax, by - ay);
  let worst = 0, at = 0;
  for (let number = 1; number < points.length - 1; number++) {
    const [x, y] = points[number];
    const off = length ? Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length : Math.hypot(x - ax, y - ay);
    if (off > worst) [worst, at] = [off, number];
  }
  if (worst <= apart) return [points[0], points[points.length - 1]];
  return [...thinned(points.slice(0, at + 1), apart).slice(0, -1), ...thinned(points.slice(at), apart)];
};
export const simplified = (points, most) => {
  let found = points;
  for (let apart = 1; found.length > most || apart === 1; apart *= 1.5) found = thinned(points, apart);
  return found;
};

export const makePlot = ({ onLasso, onPoint, onPick }) => {
  const canvas = make("canvas", { role: "img", "aria-label": "Map of the candidates" });
  const over = svg("svg", { class: "over", "aria-hidden": "true" });
  const node = make("div", { className: "plot-box" }, canvas, over);
  const context = canvas.getContext("2d");
  const trace = svg("polyline", { class: "lasso" });
  let drawn = null, wide = 0, tall = 0, sharp = 1, top = new Int32Array(0), path = null;

  const inner = () => [wide - MARGIN.left - MARGIN.right, tall - MARGIN.top - MARGIN.bottom];
  const place = ([x, y]) => {
    const [w, h] = inner(), { xView, yView } = drawn;
    return [MARGIN.left + (x - xView[0]) / (xView[1] - xView[0]) * w, MARGIN.top + h - (y - yView[0]) / (yView[1] - yView[0]) * h];
  };
  const unplace = ([left, down]) => {
    const [w, h] = inner(), { xView, yView } = drawn;
    return [xView[0] + (left - MARGIN.left) / w * (xView[1] - xView[0]), yView[0] + (MARGIN.top + h - down) / h * (yView[1] - yView[0])];
  };
  const measure = () => {
    wide = Math.max(200, node.clientWidth);
    tall = Math.max(200, node.clientHeight);
    sharp = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.round(wide * sharp);
    canvas.height = Math.round(tall * sharp);
    over.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
  };
  // The colours' numbers are 0xAABBGGRR, as a little-endian Uint32Array over the canvas's bytes has them.
  const paint = () => {
    const { x, y, xView, yView, colours, palette, kept } = drawn, across = canvas.width, down = canvas.height;
    const [w, h] = inner().map(each => Math.round(each * sharp)), left = Math.round(MARGIN.left * sharp), upper = Math.round(MARGIN.top * sharp);
    const count = new Uint16Array(across * down), shade = new Uint32Array(across * down);
    top = new Int32Array(across * down).fill(-1);
    const scale = (axis, view, size) => { const unit = (axis.high - axis.low) / STEPS, span = view[1] - view[0]; return [unit / span * size, (axis.low - view[0]) / span * size]; };
    const [xs, xo] = scale(x, xView, w - 1), [ys, yo] = scale(y, yView, h - 1), xAt = x.steps, yAt = y.steps;
    let shown = 0, outside = 0, unknown = 0;
    for (const wanted of [0, 1]) {
      const size = Math.max(1, Math.floor((wanted ? drawn.keptDot : drawn.dot) * sharp)), half = size >> 1;
      for (let row = 0; row < xAt.length; row++) {
        if ((kept[row] ? 1 : 0) !== wanted) continue;
        if (xAt[row] === UNKNOWN || yAt[row] === UNKNOWN) { unknown++; continue; }
        const px = Math.round(xAt[row] * xs + xo), py = h - 1 - Math.round(yAt[row] * ys + yo);
        if (px < 0 || py < 0 || px >= w || py >= h) { outside++; continue; }
        shown++;
        const colour = palette[wanted ? colours[row] : palette.length - 1];
        for (let a = -half; a < size - half; a++) for (let b = -half; b < size - half; b++) {
          const pixel = (upper + py + b) * across + left + px + a;
          if (shade[pixel] !== colour) { if (wanted && count[pixel] && shade[pixel] === palette[palette.length - 1]) count[pixel] = 0; shade[pixel] = colour; }
          if (count[pixel] < 65535) count[pixel]++;
          top[pixel] = row;
        }
      }
    }
    let most = 1;
    for (let pixel = 0; pixel < count.length; pixel++) if (count[pixel] > most) most = count[pixel];
    const image = context.createImageData(across, down), bytes = new Uint32Array(image.data.buffer), full = Math.log1p(Math.min(most, 12));
    for (let pixel = 0; pixel < count.length; pixel++) if (count[pixel]) {
      const least = shade[pixel] === palette[palette.length - 1] ? 0.4 : 0.65;
      const alpha = Math.round(255 * Math.min(1, least + (1 - least) * Math.log1p(count[pixel]) / full));
      bytes[pixel] = (shade[pixel] & 0xffffff | alpha << 24) >>> 0;
    }
    context.putImageData(image, 0, 0);
    return { shown, outside, unknown };
  };
  const frame = () => {
    const [w, h] = inner(), bottom = MARGIN.top + h, parts = [];
    for (const [at, text] of ticks(drawn.x, drawn.xView, Math.max(5, w / 90))) {
      const [left] = place([at, drawn.yView[0]]);
      parts.push(svg("line", { x1: left, x2: left, y1: MARGIN.top, y2: bottom, class: text === "0" || /^0\.0*$/.test(text) ? "zero" : "grid" }), svg("text", { x: left, y: bottom + 14, class: "across" }, text));
    }
    for (const [at, text] of ticks(drawn.y, drawn.yView, Math.max(4, h / 60))) {
      const [, down] = place([drawn.xView[0], at]);
      parts.push(svg("line", { x1: MARGIN.left, x2: MARGIN.left + w, y1: down, y2: down, class: text === "0" || /^0\.0*$/.test(text) ? "zero" : "grid" }), svg("text", { x: MARGIN.left - 6, y: down + 4, class: "down" }, text));
    }
    parts.push(svg("text", { x: MARGIN.left + w / 2, y: tall - 4, class: "name" }, drawn.xName), svg("text", { transform: `translate(11 ${MARGIN.top + h / 2}) rotate(-90)`, class: "name" }, drawn.yName));
    parts.push(svg("rect", { x: MARGIN.left, y: MARGIN.top, width: w, height: h, class: "edge" }));
    const clip = svg("clipPath", { id: "plot-clip" });
    clip.append(svg("rect", { x: MARGIN.left, y: MARGIN.top, width: w, height: h }));
    const inside = svg("g", { "clip-path": "url(#plot-clip)" });
    if (drawn.lasso) inside.append(svg("polygon", { points: drawn.lasso.map(each => place(each).map(value => value.toFixed(1)).join(",")).join(" "), class: "lasso" }));
    inside.append(trace);
    const at = drawn.pinned;
    if (at !== undefined && at >= 0 && drawn.x.steps[at] !== UNKNOWN && drawn.y.steps[at] !== UNKNOWN) {
      const [left, down] = place([valueAt(drawn.x, at), valueAt(drawn.y, at)]);
      inside.append(svg("circle", { cx: left, cy: down, r: 7, class: "pin" }));
    }
    over.replaceChildren(clip, ...parts, inside);
  };
  const traced = () => trace.setAttribute("points", path ? path.map(each => each.join(",")).join(" ") : "");
  const near = (left, down) => {
    const x = Math.round(left * sharp), y = Math.round(down * sharp), reach = Math.round(NEAR * sharp);
    for (let ring = 0; ring <= reach; ring++) for (let a = -ring; a <= ring; a++) for (let b = -ring; b <= ring; b++) {
      if (Math.max(Math.abs(a), Math.abs(b)) !== ring) continue;
      const px = x + a, py = y + b;
      if (px < 0 || py < 0 || px >= canvas.width || py >= canvas.height) continue;
      const row = top[py * canvas.width + px];
      if (row >= 0) return row;
    }
    return -1;
  };
  const where = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.x, event.clientY - box.y]; };
  const spread = () => Math.max(...[0, 1].map(side => Math.max(...path.map(each => each[side])) - Math.min(...path.map(each => each[side]))));
  canvas.addEventListener("pointerdown", event => {
    if (event.button || !drawn) return;
    path = [where(event)];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    if (!drawn) return;
    const at = where(event);
    if (!path) return onPoint(near(...at));
    const last = path[path.length - 1];
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= 2) { path.push(at); traced(); }
  });
  canvas.addEventListener("pointerup", event => {
    if (!path) return;
    const done = path, small = spread() < LEAST_DRAG;
    path = null;
    traced();
    if (small) return onPick(near(...where(event)));
    const corners = simplified([...done, done[0]], drawn.mostPoints).slice(0, -1);
    if (corners.length >= 3) onLasso(corners.map(unplace));
  });
  canvas.addEventListener("pointercancel", () => { path = null; traced(); });
  canvas.addEventListener("pointerleave", () => { if (!path) onPoint(-1); });
  return {
    node, canvas,
    draw: wanted => { drawn = wanted; measure(); const sums = paint(); frame(); return sums; },
    pin: row => { if (drawn) { drawn.pinned = row; frame(); } },
  };
};
export const valueAt = (axis, row) => axis.low + axis.steps[row] / STEPS * (axis.high - axis.low);
