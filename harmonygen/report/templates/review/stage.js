// The desk: the photo beside the candidate, as large as the window allows, and the other candidates of the pair.
const stage = (() => {
  const views = byId("views"), [photo, composite] = views.children;
  const [shown, behind] = composite.querySelectorAll("img");
  const outlines = ["photo", "both", "none"];
  let made = null, outline = 0, asked = 0;

  // Side by side or one above the other: whichever makes the pictures larger.
  const fit = () => {
    if (!made) return;
    const gap = 16, title = 24, { clientWidth: width, clientHeight: height } = views, aspect = made.pair.aspect;
    const beside = Math.min((width - gap) / 2, (height - title) * aspect);
    const stacked = Math.min(width, ((height - gap) / 2 - title) * aspect);
    views.classList.toggle("stacked", stacked > beside);
    const side = Math.max(40, Math.floor(Math.max(beside, stacked)));
    views.style.setProperty("--w", `${side}px`);
    views.style.setProperty("--a", aspect);
  };
  const trace = () => {
    const path = entryOf(made.pair.outline) || "";
    views.querySelectorAll("svg").forEach(drawing => {
      drawing.setAttribute("viewBox", made.pair.box || "0 0 1 1");
      drawing.querySelectorAll("path").forEach(part => part.setAttribute("d", path));
    });
  };
  const flip = on => {
    composite.classList.toggle("flipped", on);
    byId("which").textContent = on ? "real photo, in its place" : nameOf(made);
  };
  const nameOf = one => one ? `candidate ${one.k}` : "candidate";
  const strip = () => {
    const others = made.pair.candidates;
    byId("strip-title").textContent = others.length > 1 ? `All ${others.length} candidates of this pair` : "";
    byId("strip").replaceChildren(...others.map(other => {
      const tile = document.createElement("button"), verdict = verdictOf(other);
      tile.type = "button";
      tile.className = `tile ${verdict}${other === made ? " current" : ""}${other.selected ? " selected" : ""}`;
      tile.style.setProperty("--a", made.pair.aspect);
      tile.setAttribute("aria-label", told(other));
      if (other === made) tile.setAttribute("aria-current", "true");
      tile.innerHTML = '<span class="im"><img alt=""></span><span class="mark" aria-hidden="true"></span><span class="c"></span>';
      tile.querySelector(".mark").textContent = { accept: "✓", reject: "✗" }[verdict] || "";
      tile.querySelector(".c").textContent = other.gate || (lens(other) === null ? `k${other.k}` : figure(lens(other))) + (other.selected ? " ★" : "");
      paint(tile.querySelector("img"), other.picture);
      tile.addEventListener("click", () => go(other));
      return tile;
    }));
    const tiles = byId("strip"), here = tiles.querySelector(".current");  // scrollIntoView would begin Tab's round here
    if (here) tiles.scrollLeft = Math.max(0, here.offsetLeft - tiles.clientWidth / 2);
  };
  const facts = () => {
    const { pair } = made;
    const selected = made.selected ? "selected by the rule" : made.gate ? `refused: ${run.gates[made.gate] || made.gate}` : `number ${made.place + 1} in line`;
    return [
      pair.subset, pair.width ? `${pair.width} × ${pair.height}` : "", pair.ratio === null ? "" : `foreground ${(pair.ratio * 100).toFixed(0)} %`,
      ...scoresOf(made), made.fmse === null ? "" : `fMSE ${count(made.fmse)}`, selected, made.decidedBy && `decided by ${made.decidedBy}`,
    ].filter(Boolean).join(" · ");
  };
  const show = chosen => {
    const ticket = ++asked;
    made = chosen;
    byId("desk").classList.toggle("empty", !made);
    if (!made) return;
    const verdict = verdictOf(made);
    byId("desk").dataset.verdict = verdict;
    byId("pair").textContent = made.pair.id;
    byId("facts").textContent = facts();
    byId("stamp").textContent = { accept: "✓ accepted", reject: "✗ rejected" }[verdict] || "undecided";
    fit();
    flip(false);
    trace();
    paint(photo.querySelector("img"), made.pair.photo);
    paint(shown, made.picture);
    paint(behind, made.pair.photo);
    views.querySelectorAll("img").forEach(image => { image.alt = image === shown ? told(made) : "real photo"; });
    strip();
    return ticket;
  };
  const turn = () => {
    outline = (outline + 1) % 3;
    views.dataset.outline = outlines[outline];
    return outlines[outline];
  };
  views.dataset.outline = outlines[outline];
  new ResizeObserver(fit).observe(views);
  for (const held of [composite.querySelector(".im")]) {
    held.addEventListener("pointerdown", event => { event.preventDefault(); held.setPointerCapture(event.pointerId); flip(true); });
    for (const end of ["pointerup", "pointercancel"]) held.addEventListener(end, () => flip(false));
    held.addEventListener("contextmenu", event => event.preventDefault());
  }
  addEventListener("blur", () => flip(false));
  return { show, flip, turn, trace: () => made && trace(), painted: () => made ? shown.decode().catch(() => {}) : Promise.resolve() };
})();
