// Tags and comments of the current candidate, what others say of it, and how far reviewers agree.
import { state, byId, make, post, get, say, figure, count, loadFacts } from "/net.js";

const form = byId("said"), tags = form.elements.namedItem("tags"), comment = form.elements.namedItem("comment");
let made = null;

export const show = next => {
  made = next;
  form.hidden = !made;
  if (!made) return;
  if (document.activeElement !== tags) tags.value = made.tags.join(", ");
  if (document.activeElement !== comment) comment.value = made.comment;
  byId("known-tags").replaceChildren(...state.facts.tags.map(value => make("option", { value })));
  byId("others").textContent = Object.entries(made.others).map(([name, said]) =>
    `${name}: ${[{ accept: "accepted", reject: "rejected" }[said.decision] || "undecided", said.tags.join(", "), said.comment].filter(Boolean).join(", ")}`).join(" · ");
};
const save = async (row, said) => {
  try {
    await post("/api/say", { rows: [row], ...said });
    say("saved");
    await loadFacts();
  } catch (error) { say(`not saved: ${error.message}`, "bad"); }
};
tags.addEventListener("change", () => {
  if (!made) return;
  made.tags = [...new Set(tags.value.split(",").map(each => each.trim()).filter(Boolean))];
  save(made.row, { tags: made.tags });
});
comment.addEventListener("change", () => { if (made) { made.comment = comment.value; save(made.row, { comment: made.comment }); } });
form.addEventListener("submit", event => { event.preventDefault(); document.activeElement.blur(); });

const cells = values => values.map(value => make("td", typeof value === "number" ? { className: "number" } : {}, typeof value === "number" ? count(value) : value));
const interval = each => each.kappa === null ? "not defined" : `${figure(each.kappa)} [${figure(each.low)}, ${figure(each.high)}]`;
const table = (head, rows) => make("table", {}, make("thead", {}, make("tr", {}, ...head.map(each => make("th", { scope: "col" }, each)))),
  make("tbody", {}, ...rows.map(row => make("tr", {}, ...cells(row)))));
export const showPeople = async () => {
  const page = byId("people");
  const found = await get("/api/agreement");
  await loadFacts();
  const rows = found.map(each => [`${each.first}, ${each.second}`, each.n, each.table[0], each.table[3], each.table[1] + each.table[2], each.n ? `${figure(each.same * 100, 1)} %` : "–", interval(each)]);
  const link = make("input", { type: "text", readOnly: true, hidden: true, "aria-label": "Link for another browser", className: "link" });
  const share = make("button", { type: "button", onclick: async () => { link.value = (await post("/api/link", {})).link; link.hidden = false; link.select(); } }, "Link for another browser");
  const files = state.facts.reviewers.map(name => make("li", {}, make("a", { href: `/decisions.json?of=${encodeURIComponent(name)}`, download: "decisions.json" }, `decisions.json of ${name} alone`)));
  page.replaceChildren(...[
    make("h2", {}, "Reviewers"),
    make("p", {}, "Each reviewer has a name of their own in the page's address (reviewer=ana). A decision counts where all who decided a candidate agree; where they do not, none counts: the filter “disputed” shows these."),
    make("form", { className: "row", onsubmit: event => { event.preventDefault(); const to = new URL(location); to.searchParams.set("reviewer", event.target.elements.name.value); location.assign(to); } },
      make("label", { className: "pick" }, make("span", { className: "legend" }, "You review as"), make("input", { name: "name", value: state.reviewer, maxlength: "40", required: true })), make("button", {}, "Change")),
    make("h2", {}, "Agreement"),
    found.length ? table(["reviewers", "both decided", "both accepted", "both rejected", "disagree", "agree", "Cohen’s kappa [95 % interval]"], rows)
      : make("p", {}, "There is no second reviewer yet."),
    found.length ? make("p", { className: "legend" }, "Measured by simulation, the interval holds the truth in 93 to 95 % of cases from 100 candidates on, and in 85 to 94 % at 30.") : null,
    make("h2", {}, "Files"),
    make("p", {}, "Decisions are in the run’s folder as they are made, and harmonygen select, augment and build-human-harmony find them there. These files are for other machines and programs."),
    make("ul", {}, make("li", {}, make("a", { href: "/decisions.json", download: "decisions.json" }, "decisions.json: what counts, for select --decisions")),
      make("li", {}, make("a", { href: "/decisions.csv", download: "decisions.csv" }, "decisions.csv: all reviewers, with tags and comments")), ...files),
    make("p", { className: "row" }, share, link),
  ].filter(Boolean));
};
