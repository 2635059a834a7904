// The pipeline on the left, the panels on the right, and the keys.

const KEYS = [
  ["[ and ]", "the step before, the next step"], ["j k, arrows, PgUp PgDn", "move in the program"],
  ["/", "find; Enter and Shift+Enter for the next and the one before"], ["n N", "the same, from the program"],
  ["x X", "the next difference, the one before"], ["d", "differences shown, alone, not shown"],
  ["Enter", "to where the first operand is made"], ["u", "to where the first result is read"], ["b", "back"],
  ["s m g", "source, memory, graph"], ["arrows, Enter in the source", "to the equations of a line"],
  ["arrows, + and -, c in the graph", "move, zoom, to the selected equation"], ["?", "this list"],
];
const query = document.getElementById("query"), mode = document.getElementById("mode");
const keys = document.getElementById("keys"), trail = [];

function openStep(step) {
  if (step < 0 || step >= DATA.steps.length) return;
  const row = state.rows[state.cursor], before = row && !row.gap ? lineAt(row.step, row.line) : null;
  state.step = step;
  state.source = null;
  trail.length = 0;
  document.querySelectorAll("#steps button").forEach((b, i) => {
    if (i === step) { b.setAttribute("aria-current", "step"); b.scrollIntoView({ block: "nearest" }); }
    else b.removeAttribute("aria-current");
  });
  fillFunctions(memoryFunction, (DATA.steps[step].memory || []).map((m) => m.function));
  fillFunctions(graphFunction, programOf(step).functions.map((f) => f.name));
  showRows();
  const same = before ? DATA.steps[step].lines.indexOf(DATA.lines.indexOf(before)) : -1;
  const first = changes()[0];
  const start = same >= 0 && state.places.has(same) ? state.places.get(same) : first !== undefined ? first : 0;
  if (DATA.files.length && state.rows.length) showFile(shownFile ? Number(fileList.value) : 0);
  choose(start);
}

function openPanel(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const open = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(open));
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !open;
  }
  if (name === "memory") drawMemory();
  if (name === "graph") drawGraph();
  if (name === "source") showSource();
}

function stepButton(step, i) {
  const box = element("li"), button = element("button", step.error ? "failed" : "");
  button.append(element("b", "", `${i} ${step.name}`));
  const time = step.seconds === null ? "" : ` · ${(step.seconds * 1000).toFixed(1)} ms`;
  button.append(element("small", "", `${step.equations} equations${time}`));
  button.append(element("small", "", step.unknown ? step.unknown : `${size(step.bytes)} moved · ${size(step.residual_bytes)} residuals`));
  const [plus, minus] = ["+", "-"].map((sign) => (step.edits || []).reduce((sum, [k, n]) => sum + (k === sign ? n : 0), 0));
  if (i) button.append(element("small", "", plus || minus ? `+${plus} −${minus} lines` : "no change"));
  if (step.error) button.append(element("small", "", step.error));
  button.addEventListener("click", () => openStep(i));
  box.append(button);
  return box;
}

function followValue(toUsers) {
  const row = state.rows[state.cursor];
  if (!row || row.gap || row.step !== state.step) return;
  const line = lineAt(row.step, row.line), owner = programOf(row.step).owner[row.line];
  const name = toUsers ? line.d && line.d[0] && line.d[0][0] : line.u && line.u[0];
  const value = owner && name ? owner.names.get(name) : undefined;
  const target = value ? (toUsers ? value.users[0] : value.made) : undefined;
  if (target === undefined) return;
  trail.push(row.line);
  goTo(target);
}

function showKeys() {
  const table = element("table");
  for (const [key, what] of KEYS) {
    const row = element("tr"), cell = element("td");
    cell.append(element("kbd", "", key));
    row.append(cell, element("td", "", what));
    table.append(row);
  }
  const close = element("button", "", "Close");
  close.addEventListener("click", () => keys.close());
  keys.replaceChildren(table, close);
  keys.showModal();
}

const page = () => Math.max(1, Math.floor(listing.clientHeight / ROW) - 1);
const ACTIONS = {
  "[": () => openStep(state.step - 1), "]": () => openStep(state.step + 1),
  j: () => choose(state.cursor + 1), k: () => choose(state.cursor - 1),
  n: () => nextOf(state.hits, true), N: () => nextOf(state.hits, false),
  x: () => nextOf(changes(), true), X: () => nextOf(changes(), false),
  d: () => { mode.selectedIndex = (mode.selectedIndex + 1) % 3; setMode(); },
  u: () => followValue(true), b: () => { if (trail.length) goTo(trail.pop()); },
  s: () => { openPanel("source"); sourceText.focus(); }, m: () => openPanel("memory"),
  g: () => { openPanel("graph"); drawing.focus(); },
  "/": () => { query.focus(); query.select(); }, "?": showKeys,
};
const IN_LISTING = {
  ArrowDown: () => choose(state.cursor + 1), ArrowUp: () => choose(state.cursor - 1),
  PageDown: () => choose(state.cursor + page()), PageUp: () => choose(state.cursor - page()),
  Home: () => choose(0), End: () => choose(state.rows.length - 1), Enter: () => followValue(false),
};

function setMode() {
  const row = state.rows[state.cursor], line = row && row.step === state.step ? row.line : -1;
  state.mode = mode.value;
  showRows();
  choose(state.places.has(line) ? state.places.get(line) : changes()[0] || 0);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
  const action = (event.target === listing ? IN_LISTING[event.key] : undefined) || ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
query.addEventListener("input", () => { find(query.value); redraw(); });
query.addEventListener("keydown", (event) => {
  if (event.key === "Enter") nextOf(state.hits, !event.shiftKey);
  if (event.key === "Escape") listing.focus();
});
mode.addEventListener("change", setMode);
document.getElementById("later").addEventListener("click", ACTIONS.x);
document.getElementById("earlier").addEventListener("click", ACTIONS.X);
document.getElementById("help").addEventListener("click", showKeys);
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => openPanel(tab.getAttribute("aria-controls")));
}
listing.addEventListener("scroll", () => requestAnimationFrame(draw));
addEventListener("resize", () => { redraw(); drawMemory(); drawGraph(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawMemory(); drawGraph(); });

document.getElementById("name").textContent = `module @${DATA.module}`;
document.title = `${DATA.module}: covector view`;
document.getElementById("steps").append(...DATA.steps.map(stepButton));
openStep(DATA.steps.length - 1);
listing.focus();
