// Tables of class "sortable": a click on a column's head sorts the rows by it, a second click the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim().replaceAll(",", "").replace("−", "-");
    const number = parseFloat(text.replace(/^\[/, ""));
    return Number.isNaN(number) ? text : number;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
      rows.sort((a, b) => turn * order(value(a, column), value(b, column)));
      table.tBodies[0].append(...rows);
    });
  });
}

// Cases of class "shots": one picture over another, parted at a slider.
for (const shots of document.querySelectorAll(".shots")) {
  const pictures = [...shots.querySelectorAll("img")];
  if (pictures.length < 2) continue;
  const name = shots.dataset.name, labels = pictures.map(each => each.dataset.label);
  const box = document.createElement("div");
  box.className = "compare";
  const choose = (chosen, side) => {
    const select = document.createElement("select");
    select.setAttribute("aria-label", `${side} picture of ${name}`);
    labels.forEach((label, place) => select.add(new Option(label, place, false, place === chosen)));
    return select;
  };
  const left = choose(0, "Left"), right = choose(pictures.length - 1, "Right");
  const slider = Object.assign(document.createElement("input"), {type: "range", min: 0, max: 100, value: 50});
  slider.setAttribute("aria-label", `Where the pictures of ${name} meet, in percent`);
  const view = document.createElement("div");
  view.className = "over";
  const under = new Image(), above = new Image();
  view.append(under, above);
  const show = () => {
    under.src = pictures[right.value].src;
    above.src = pictures[left.value].src;
    under.alt = pictures[right.value].alt;
    above.alt = pictures[left.value].alt;
    above.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
  };
  for (const control of [left, slider, right]) {
    control.addEventListener("input", show);
    box.append(control);
  }
  box.append(view);
  shots.before(box);
  show();
}
