// A step's program: which function each line belongs to, and where its values are made and read.

const DATA = JSON.parse(document.getElementById("data").textContent);
const programs = new Map();

function lineAt(step, i) { return DATA.lines[DATA.steps[step].lines[i]]; }

// Functions of a step: {name, first, last, names: Map of name -> {type, made, users}}.
function programOf(step) {
  if (programs.has(step)) return programs.get(step);
  const owner = [], functions = [];
  let current = null;
  DATA.steps[step].lines.forEach((index, i) => {
    const line = DATA.lines[index];
    if (line.k === "f") {
      current = { name: /@(`[^`]*`|[\w.]+)/.exec(line.t)[1], first: i, last: i, names: new Map() };
      functions.push(current);
    }
    owner.push(line.k === "c" ? null : current);
    if (!current || line.k === "c") return;
    current.last = i;
    for (const name of line.u || []) {
      const value = current.names.get(name);
      if (value && value.users[value.users.length - 1] !== i) value.users.push(i);
    }
    for (const [name, type] of line.d || []) current.names.set(name, { type, made: i, users: [] });
  });
  const made = { owner, functions };
  programs.set(step, made);
  return made;
}

function equationLine(step, functionName, i) {
  const found = programOf(step).functions.find((f) => f.name.replaceAll("`", "") === functionName);
  return found ? found.first + 1 + i : -1;
}

// The rows of a step: each {step, line, mark}; removed lines are lines of the step before.
function rowsOf(step, mode) {
  const lines = DATA.steps[step].lines, edits = DATA.steps[step].edits || [];
  const rows = [];
  if (!edits.length || mode === "none") {
    lines.forEach((_, line) => rows.push({ step, line, mark: "" }));
    return rows;
  }
  let old = 0, now = 0;
  for (const [kind, count] of edits) {
    for (let i = 0; i < count; i += 1) {
      if (kind === "-") rows.push({ step: step - 1, line: old++, mark: "minus" });
      else if (kind === "+") rows.push({ step, line: now++, mark: "plus" });
      else { rows.push({ step, line: now++, mark: "" }); old += 1; }
    }
  }
  return mode === "only" ? changesAlone(rows) : rows;
}

const AROUND = 3;

function changesAlone(rows) {
  const near = new Uint8Array(rows.length);
  rows.forEach((row, i) => {
    if (row.mark) near.fill(1, Math.max(0, i - AROUND), i + AROUND + 1);
  });
  const kept = [];
  let hidden = 0;
  rows.forEach((row, i) => {
    if (near[i]) {
      if (hidden) kept.push({ gap: hidden, mark: "gap" });
      hidden = 0;
      kept.push(row);
    } else hidden += 1;
  });
  if (hidden) kept.push({ gap: hidden, mark: "gap" });
  return kept;
}
