// The user's source: from an equation to its line, and from a line to its equations.

const fileList = document.getElementById("file"), sourceText = document.getElementById("text");
let shownFile = null;
const usesOf = new Map();

// The lines of the step's program that come from each line of each file.
function uses(step) {
  if (usesOf.has(step)) return usesOf.get(step);
  const found = new Map();
  DATA.steps[step].lines.forEach((index, i) => {
    const source = DATA.lines[index].s;
    if (!source) return;
    const key = source.join(":");
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(i);
  });
  usesOf.set(step, found);
  return found;
}

function showFile(file) {
  const key = `${state.step} ${file}`;
  if (shownFile === key) return;
  shownFile = key;
  fileList.value = String(file);
  const text = DATA.sources[DATA.files[file]], used = uses(state.step);
  const made = document.createDocumentFragment();
  if (text === undefined) made.append(element("div", "row none", "This file is not there (any more)."));
  else text.split("\n").forEach((line, i) => {
    const count = (used.get(`${file}:${i + 1}`) || []).length;
    const box = element("div", count ? "row" : "row none");
    box.dataset.line = i + 1;
    if (count) { box.tabIndex = -1; box.title = `${count} equations`; }
    box.append(element("span", "no", `${count ? `${count}×` : ""} ${i + 1}`), line);
    made.append(box);
  });
  sourceText.replaceChildren(made);
}

function showSource() {
  const row = state.rows[state.cursor];
  if (!row || row.gap) return;
  const source = lineAt(row.step, row.line).s;
  if (!source) return;
  showFile(source[0]);
  lightLine(source[1], true);
}

function lightLine(number, scroll) {
  for (const box of sourceText.querySelectorAll(".chosen")) box.classList.remove("chosen");
  const box = sourceText.querySelector(`[data-line="${number}"]`);
  if (!box) return;
  box.classList.add("chosen");
  if (scroll) sourceText.scrollTop = Math.max(0, box.offsetTop - sourceText.offsetTop - sourceText.clientHeight / 3);
}

// Light all equations of a source line, and go to the next of them.
function chooseSource(file, number) {
  const lines = uses(state.step).get(`${file}:${number}`) || [];
  if (!lines.length) return;
  state.source = [file, number];
  const here = state.rows[state.cursor];
  const at = here && here.step === state.step ? lines.find((i) => i > here.line) : undefined;
  goTo(at !== undefined ? at : lines[0]);
}

function moveInSource(by) {
  const lit = sourceText.querySelector(".chosen"), boxes = [...sourceText.querySelectorAll(".row:not(.none)")];
  if (!boxes.length) return;
  const at = lit ? boxes.findIndex((b) => Number(b.dataset.line) >= Number(lit.dataset.line)) : -1;
  const next = boxes[Math.max(0, Math.min(boxes.length - 1, at + by))];
  lightLine(Number(next.dataset.line), true);
}

sourceText.addEventListener("click", (event) => {
  const box = event.target.closest(".row:not(.none)");
  if (box) chooseSource(Number(fileList.value), Number(box.dataset.line));
});
sourceText.addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  const lit = sourceText.querySelector(".chosen");
  if (by) moveInSource(by);
  else if (event.key === "Enter" && lit) chooseSource(Number(fileList.value), Number(lit.dataset.line));
  else return;
  event.preventDefault();
  event.stopPropagation();
});
fileList.addEventListener("change", () => showFile(Number(fileList.value)));
DATA.files.forEach((name, i) => {
  const option = element("option", "", name);
  option.value = String(i);
  fileList.append(option);
});
