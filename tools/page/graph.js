// A function drawn: equations in layers below what they read. Only what is in sight is painted.

const drawing = document.getElementById("drawing"), graphFunction = document.getElementById("graph-function");
const layouts = new Map(), eye = { x: 0, y: 0, zoom: 1, key: "" };
const WIDE = 150, TALL = 56, BOX = 132, BAR = 26;

function layoutOf(step, owner) {
  const key = `${step} ${owner.name}`;
  if (layouts.has(key)) return layouts.get(key);
  const nodes = [], byLine = new Map();
  for (let i = owner.first; i <= owner.last; i += 1) {
    const line = lineAt(step, i);
    if (!"fer".includes(line.k) || !line.k) continue;
    const sources = (line.u || []).map((name) => owner.names.get(name)).filter(Boolean);
    const before = [...new Set(sources.map((v) => v.made))].map((at) => byLine.get(at)).filter(Boolean);
    const node = { line: i, before, depth: 0, x: 0, label: labelOf(line, owner) };
    node.depth = before.length ? 1 + Math.max(...before.map((b) => b.depth)) : 0;
    nodes.push(node);
    byLine.set(i, node);
  }
  const layers = [];
  for (const node of nodes) (layers[node.depth] ||= []).push(node);
  for (const layer of layers) if (layer) placeLayer(layer);
  const made = { nodes, byLine, layers, width: Math.max(...layers.map((l) => (l ? l.length : 0))) * WIDE, height: layers.length * TALL };
  layouts.set(key, made);
  return made;
}

// Nodes of a layer stand in the order of the middle of what they read, about a common axis.
function placeLayer(layer) {
  const middle = (n) => (n.before.length ? n.before.reduce((sum, b) => sum + b.x, 0) / n.before.length : 0);
  const wanted = new Map(layer.map((n) => [n, middle(n)]));
  layer.sort((a, b) => wanted.get(a) - wanted.get(b) || a.line - b.line);
  layer.forEach((node, i) => { node.x = (i - (layer.length - 1) / 2) * WIDE; });
}

function labelOf(line, owner) {
  if (line.k === "f") return `@${owner.name}`;
  if (line.k === "r") return "return";
  const operation = /(?:^|= )([\w.]+)/.exec(line.t.replace(/^\s*(?:.*? = )?/, "= "));
  return `${line.d && line.d.length ? `${line.d[0][0]} = ` : ""}${operation ? operation[1] : ""}`;
}

function graphOwner() {
  return programOf(state.step).functions.find((f) => f.name === graphFunction.value);
}

function showAll(layout) {
  eye.zoom = Math.min(1.5, drawing.clientWidth / (layout.width + 40), drawing.clientHeight / (layout.height + 40));
  eye.zoom = Math.max(eye.zoom, 0.02);
  eye.x = 0;
  eye.y = (layout.height - TALL) / 2;
}

function drawGraph() {
  if (drawing.closest("[hidden]")) return;
  const owner = graphOwner();
  if (!owner) return;
  const layout = layoutOf(state.step, owner), { pen, w, h } = canvasOf(drawing);
  const key = `${state.step} ${owner.name}`;
  if (eye.key !== key) { eye.key = key; showAll(layout); }
  const row = state.rows[state.cursor];
  const chosen = row && row.step === state.step ? layout.byLine.get(row.line) : undefined;
  const place = (node) => [w / 2 + (node.x - eye.x) * eye.zoom, h / 2 + (node.depth * TALL - eye.y) * eye.zoom];
  const inSight = ([x, y]) => x > -WIDE && x < w + WIDE && y > -TALL && y < h + TALL;
  const changed = changedLines();
  pen.strokeStyle = color("dim");
  pen.lineWidth = Math.max(0.3, Math.min(1, eye.zoom));
  pen.beginPath();
  for (const node of layout.nodes) for (const b of node.before) {
    const [x, y] = place(node), [u, v] = place(b);
    if (!inSight([x, y]) && !inSight([u, v])) continue;
    pen.moveTo(u, v + (BAR / 2) * eye.zoom);
    pen.lineTo(x, y - (BAR / 2) * eye.zoom);
  }
  pen.stroke();
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.font = `${Math.max(1, 11 * eye.zoom)}px ui-monospace, monospace`;
  for (const node of layout.nodes) if (inSight(place(node))) paint(pen, node, place(node), node === chosen, changed.has(node.line));
  drawing.setAttribute("aria-label", `Graph of @${owner.name}: ${layout.nodes.length} nodes in ${layout.layers.length} layers`);
}

function paint(pen, node, [x, y], isChosen, isNew) {
  const w = BOX * eye.zoom, h = BAR * eye.zoom;
  pen.fillStyle = color(isChosen ? "chosen" : isNew ? "plus" : "panel");
  pen.strokeStyle = color(isChosen ? "focus" : "line");
  pen.fillRect(x - w / 2, y - h / 2, w, h);
  pen.strokeRect(x - w / 2, y - h / 2, w, h);
  if (eye.zoom < 0.35) return;
  pen.fillStyle = color("ink");
  pen.fillText(node.label.length > 19 ? `${node.label.slice(0, 18)}…` : node.label, x, y);
}

function changedLines() {
  const found = new Set();
  for (const row of state.rows) if (row.mark === "plus") found.add(row.line);
  return found;
}

function nodeAt(px, py) {
  const owner = graphOwner();
  if (!owner) return undefined;
  const x = (px - drawing.clientWidth / 2) / eye.zoom + eye.x, y = (py - drawing.clientHeight / 2) / eye.zoom + eye.y;
  const layer = layoutOf(state.step, owner).layers[Math.round(y / TALL)] || [];
  return layer.find((n) => Math.abs(n.x - x) <= BOX / 2 && Math.abs(n.depth * TALL - y) <= BAR / 2);
}

function zoom(by) {
  eye.zoom = Math.max(0.02, Math.min(4, eye.zoom * by));
  drawGraph();
}

function centre() {
  const owner = graphOwner(), row = state.rows[state.cursor];
  const node = owner && row ? layoutOf(state.step, owner).byLine.get(row.line) : undefined;
  if (node) { eye.x = node.x; eye.y = node.depth * TALL; eye.zoom = Math.max(eye.zoom, 0.8); drawGraph(); }
}

let held = null;
drawing.addEventListener("pointerdown", (e) => { held = { x: e.clientX, y: e.clientY, moved: 0 }; drawing.setPointerCapture(e.pointerId); });
drawing.addEventListener("pointermove", (e) => {
  if (!held) return;
  const dx = e.clientX - held.x, dy = e.clientY - held.y;
  held = { x: e.clientX, y: e.clientY, moved: held.moved + Math.abs(dx) + Math.abs(dy) };
  eye.x -= dx / eye.zoom;
  eye.y -= dy / eye.zoom;
  drawGraph();
});
drawing.addEventListener("pointerup", (e) => {
  const node = held && held.moved < 4 ? nodeAt(e.offsetX, e.offsetY) : undefined;
  held = null;
  if (node) goTo(node.line);
});
drawing.addEventListener("wheel", (e) => { e.preventDefault(); zoom(e.deltaY < 0 ? 1.2 : 1 / 1.2); }, { passive: false });
drawing.addEventListener("keydown", (e) => {
  const by = { ArrowLeft: [-60, 0], ArrowRight: [60, 0], ArrowUp: [0, -60], ArrowDown: [0, 60] }[e.key];
  if (by) { eye.x += by[0] / eye.zoom; eye.y += by[1] / eye.zoom; drawGraph(); }
  else if (e.key === "+" || e.key === "-") zoom(e.key === "+" ? 1.2 : 1 / 1.2);
  else if (e.key === "c") centre();
  else return;
  e.preventDefault();
  e.stopPropagation();
});
document.getElementById("closer").addEventListener("click", () => zoom(1.4));
document.getElementById("wider").addEventListener("click", () => zoom(1 / 1.4));
document.getElementById("fit").addEventListener("click", () => { eye.key = ""; drawGraph(); });
graphFunction.addEventListener("change", drawGraph);
