"use strict";
(() => {
  const list = document.getElementById("rows");
  if (!list) return;
  const rows = [...list.children];
  const form = document.querySelector(".controls");
  const control = name => form.elements.namedItem(name);
  const valueOf = name => control(name) ? control(name).value : "";
  const eager = Number(list.dataset.eager);
  rows.forEach((row, index) => { row.dataset.order = index; });

  // Pictures wait in data-src until their row comes near the window.
  const load = row => row.querySelectorAll("img[data-src]").forEach(image => {
    image.src = image.dataset.src;
    image.removeAttribute("data-src");
  });
  const near = new IntersectionObserver(seen => seen.forEach(entry => {
    if (entry.isIntersecting) { load(entry.target); near.unobserve(entry.target); }
  }), { rootMargin: "1200px 0px" });
  rows.forEach(row => near.observe(row));

  const text = new Intl.Collator("en", { numeric: true });
  const valueIn = (row, key) => { const value = row.getAttribute(`data-${key}`); return value === "" ? -1 : +value; };
  const compare = key => key === "id"
    ? (a, b) => text.compare(a.dataset.id, b.dataset.id)
    : (a, b) => valueIn(a, key) - valueIn(b, key);

  const wanted = row => {
    const { subset, gates, id } = row.dataset, gate = valueOf("gate"), find = valueOf("text").trim().toLowerCase();
    if (valueOf("subset") && subset !== valueOf("subset")) return false;
    if (gate === "+" ? !gates : gate === "-" ? gates : gate && !gates.split(" ").includes(gate)) return false;
    return !find || id.toLowerCase().includes(find);
  };

  let shown = rows, falling = false;
  const filter = () => {
    const kept = new Set(rows.filter(wanted));
    rows.forEach(row => { row.hidden = !kept.has(row); });
    shown = [...list.children].filter(row => kept.has(row));
    rows.forEach(row => row.classList.add("off-paper"));
    shown.slice(0, eager).forEach(row => row.classList.remove("off-paper"));
    control("count").value = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} pairs`;
  };
  const sort = () => {
    const by = compare(valueOf("sort")), sign = falling ? -1 : 1;
    list.append(...[...rows].sort((a, b) => sign * by(a, b) || a.dataset.order - b.dataset.order));
    control("direction").textContent = falling ? "↓" : "↑";
    filter();
  };

  control("sort").addEventListener("change", () => {
    falling = !["order", "id"].includes(valueOf("sort"));
    sort();
  });
  control("direction").addEventListener("click", () => { falling = !falling; sort(); });
  ["subset", "gate"].forEach(name => control(name) && control(name).addEventListener("change", filter));
  let typing;
  control("text").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 120); });
  control("tiles").addEventListener("change", () => list.classList.toggle("by-k", valueOf("tiles") === "k"));
  control("outline").addEventListener("change", event => list.classList.toggle("no-outline", !event.target.checked));
  form.addEventListener("submit", event => event.preventDefault());
  form.reset();
  form.hidden = false;
  filter();

  addEventListener("beforeprint", () => {
    shown.slice(0, eager).forEach(load);
    document.querySelectorAll("details:not([open])").forEach(part => { part.open = true; part.dataset.printed = ""; });
  });
  addEventListener("afterprint", () => document.querySelectorAll("details[data-printed]").forEach(part => {
    part.open = false;
    delete part.dataset.printed;
  }));

  // The overlay: one candidate large, the real photo while the stage is held.
  const dialog = document.getElementById("compare"), stage = dialog.querySelector(".stage");
  const [large, photo] = stage.querySelectorAll("img"), outline = stage.querySelector("svg");
  let current = null;
  const hold = on => {
    stage.classList.toggle("real", on);
    stage.querySelector(".which").textContent = on ? "real photo" : "candidate";
  };
  const show = tile => {
    const row = tile.closest(".row"), real = row.querySelector(".real"), path = real.querySelector("svg");
    load(row);
    current = tile;
    dialog.style.setProperty("--a", row.style.getPropertyValue("--a"));
    dialog.style.setProperty("--px", `${row.dataset.h}px`);
    for (const [image, from] of [[large, tile], [photo, real]]) {
      const source = from.querySelector("img");
      image.hidden = !source;
      if (source) image.src = source.src;
    }
    outline.innerHTML = path ? path.innerHTML : "";
    if (path) outline.setAttribute("viewBox", path.getAttribute("viewBox"));
    const facts = [...[...tile.querySelectorAll(".c, .m")].map(part => part.textContent), tile.dataset.why];
    dialog.querySelector("h3").textContent = row.dataset.id;
    dialog.querySelector(".about p").textContent = facts.map(fact => (fact || "").trim()).filter(Boolean).join(" · ");
    hold(false);
    if (!dialog.open) dialog.showModal();
  };
  const tilesOf = row => [...row.querySelectorAll("button.t")]
    .sort((a, b) => getComputedStyle(a).order - getComputedStyle(b).order);
  const step = by => {
    const row = current.closest(".row"), tiles = tilesOf(row), next = tiles[tiles.indexOf(current) + by];
    if (next) show(next); else jump(by);
  };
  const jump = by => {
    for (let at = shown.indexOf(current.closest(".row")) + by; shown[at]; at += by) {
      const tiles = tilesOf(shown[at]);
      if (tiles.length) return show(by > 0 ? tiles[0] : tiles[tiles.length - 1]);
    }
  };
  list.addEventListener("click", event => {
    const tile = event.target.closest("button.t");
    if (tile) show(tile);
  });
  const button = name => dialog.querySelector(`[name=${name}]`);
  for (const held of [stage, button("hold")]) {
    held.addEventListener("pointerdown", event => { held.setPointerCapture(event.pointerId); hold(true); });
    for (const end of ["pointerup", "pointercancel"]) held.addEventListener(end, () => hold(false));
    held.addEventListener("contextmenu", event => event.preventDefault());
  }
  button("previous").addEventListener("click", () => step(-1));
  button("next").addEventListener("click", () => step(1));
  button("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { if (current) current.focus(); });
  const keys = {
    ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => jump(-1), ArrowDown: () => jump(1),
    " ": () => hold(true), o: () => stage.classList.toggle("outlined"),
  };
  dialog.addEventListener("keydown", event => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  dialog.addEventListener("keyup", event => { if (event.key === " ") { event.preventDefault(); hold(false); } });
})();
