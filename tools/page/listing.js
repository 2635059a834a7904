// The listing: only the rows in sight are elements, so that its length costs nothing.

const listing = document.getElementById("listing"), rowBox = document.getElementById("rows");
const state = { step: 0, mode: "all", rows: [], places: new Map(), cursor: 0, query: "", hits: [], source: null };
const ROW = 19, SPARE = 20;
let drawn = { from: -1, to: -1 };

function showRows() {
  state.rows = rowsOf(state.step, state.mode);
  state.places = new Map();
  state.rows.forEach((row, i) => { if (row.step === state.step) state.places.set(row.line, i); });
  document.getElementById("space").style.height = `${state.rows.length * ROW}px`;
  state.cursor = Math.min(state.cursor, Math.max(0, state.rows.length - 1));
  find(state.query);
  redraw();
}

function redraw() { drawn = { from: -1, to: -1 }; draw(); }

function draw() {
  const from = Math.max(0, Math.floor(listing.scrollTop / ROW) - SPARE);
  const to = Math.min(state.rows.length, Math.ceil((listing.scrollTop + listing.clientHeight) / ROW) + SPARE);
  if (from === drawn.from && to === drawn.to) return;
  drawn = { from, to };
  const made = document.createDocumentFragment();
  for (let i = from; i < to; i += 1) made.append(rowElement(i));
  rowBox.style.transform = `translateY(${from * ROW}px)`;
  rowBox.replaceChildren(made);
  const active = document.getElementById(`row${state.cursor}`);
  if (active) listing.setAttribute("aria-activedescendant", active.id);
  else listing.removeAttribute("aria-activedescendant");
}

function rowElement(i) {
  const row = state.rows[i], box = element("div", `row ${row.mark}`);
  box.id = `row${i}`;
  box.dataset.row = i;
  box.setAttribute("role", "option");
  box.setAttribute("aria-selected", String(i === state.cursor));
  if (i === state.cursor) box.classList.add("chosen");
  if (row.gap) { box.append(element("span", "no", "…"), `${row.gap} lines without changes`); return box; }
  const line = lineAt(row.step, row.line), sign = { plus: "+", minus: "−" }[row.mark] || "";
  const number = element("span", "no", `${sign} ${row.line + 1}`);
  if (sign) number.setAttribute("aria-label", row.mark === "plus" ? "added" : "removed");
  box.append(number);
  const owner = programOf(row.step).owner[row.line];
  spell(box, line.t, owner ? owner.names : new Map(), state.query);
  if (line.s) {
    const place = element("span", "place");
    marked(place, `// ${DATA.files[line.s[0]]}:${line.s[1]}`, state.query);
    box.append(place);
    if (state.source && state.source[0] === line.s[0] && state.source[1] === line.s[1]) box.classList.add("hit");
  }
  return box;
}

function reveal(i) {
  const top = i * ROW;
  if (top < listing.scrollTop || top + 2 * ROW > listing.scrollTop + listing.clientHeight) {
    listing.scrollTop = Math.max(0, top - listing.clientHeight / 3);
  }
}

function choose(i) {
  if (!state.rows.length) return;
  state.cursor = Math.max(0, Math.min(state.rows.length - 1, i));
  reveal(state.cursor);
  redraw();
  showDetails();
  showSource();
  drawMemory();
  drawGraph();
}

// Go to a line of the step's program; all lines are shown if it is not among the rows.
function goTo(line) {
  if (!state.places.has(line)) {
    document.getElementById("mode").value = state.mode = "all";
    showRows();
  }
  if (state.places.has(line)) choose(state.places.get(line));
}

function find(query) {
  state.query = query.toLowerCase();
  state.hits = [];
  if (state.query) {
    state.rows.forEach((row, i) => {
      if (row.gap) return;
      const line = lineAt(row.step, row.line);
      const place = line.s ? ` // ${DATA.files[line.s[0]]}:${line.s[1]}` : "";
      if ((line.t + place).toLowerCase().includes(state.query)) state.hits.push(i);
    });
  }
  sayFound();
}

function sayFound() {
  const at = state.hits.indexOf(state.cursor), n = state.hits.length;
  const text = !state.query ? "" : at < 0 ? `${n} lines` : `${at + 1} of ${n} lines`;
  document.getElementById("found").textContent = text;
}

// The next of some sorted rows after (or before) the cursor, around the end.
function nextOf(sorted, forwards) {
  if (!sorted.length) return;
  const later = forwards ? sorted.find((i) => i > state.cursor) : sorted.findLast((i) => i < state.cursor);
  choose(later !== undefined ? later : sorted[forwards ? 0 : sorted.length - 1]);
  sayFound();
}

// The first row of each run of changed lines.
function changes() {
  const found = [];
  state.rows.forEach((row, i) => {
    const isChange = row.mark === "plus" || row.mark === "minus";
    const before = i ? state.rows[i - 1].mark : "";
    if (isChange && before !== "plus" && before !== "minus") found.push(i);
  });
  return found;
}
