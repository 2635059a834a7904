// Bytes live while each equation of a function runs, as columns; a click goes to the equation.

const timeline = document.getElementById("timeline"), memoryFunction = document.getElementById("memory-function");

function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

function canvasOf(canvas) {
  const scale = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  canvas.width = Math.round(w * scale);
  canvas.height = Math.round(h * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.clearRect(0, 0, w, h);
  return { pen, w, h };
}

function fillFunctions(list, names) {
  const before = list.value;
  list.replaceChildren(...names.map((name) => {
    const option = element("option", "", `@${name}`);
    option.value = name;
    return option;
  }));
  if (names.includes(before)) list.value = before;
}

function memory() {
  const all = DATA.steps[state.step].memory || [];
  return all.find((m) => m.function === memoryFunction.value) || all[0];
}

function drawMemory() {
  if (timeline.closest("[hidden]")) return;
  const shown = memory(), { pen, w, h } = canvasOf(timeline);
  if (!shown || !shown.live.length) return;
  const n = shown.live.length, peak = Math.max(1, shown.live[shown.at]);
  pen.fillStyle = color("bar");
  const columns = Math.min(n, Math.floor(w));
  for (let c = 0; c < columns; c += 1) {
    let most = 0;
    const end = Math.ceil(((c + 1) * n) / columns);
    for (let i = Math.floor((c * n) / columns); i < end; i += 1) most = Math.max(most, shown.live[i]);
    const height = (most / peak) * (h - 18);
    pen.fillRect((c * w) / columns, h - height, Math.max(1, w / columns - (columns < w / 3 ? 1 : 0)), height);
  }
  pen.fillStyle = color("ink");
  pen.font = "11px system-ui";
  const row = state.rows[state.cursor], at = row && !row.gap ? row.line - equationLine(state.step, shown.function, 0) : -1;
  const here = row && row.step === state.step && at >= 0 && at < n;
  if (here) pen.fillRect(((at + 0.5) * w) / n, 14, 1, h);
  const text = `peak ${size(shown.live[shown.at])} at equation ${shown.at + 1} of ${n}`;
  pen.fillText(here ? `${text}; here ${size(shown.live[at])}` : text, 4, 11);
  timeline.setAttribute("aria-label", `Memory of @${shown.function}: ${text}`);
  showPeak(shown);
}

function showPeak(shown) {
  const box = document.getElementById("peak"), table = element("table");
  for (const { value, bytes } of shown.values) {
    const row = element("tr");
    row.append(element("td", "", value), element("td", "", size(bytes)));
    table.append(row);
  }
  const go = element("button", "", `To the peak: equation ${shown.at + 1}`);
  go.addEventListener("click", () => goTo(equationLine(state.step, shown.function, shown.at)));
  box.replaceChildren(go, element("div", "", "Live at the peak:"), table);
}

timeline.addEventListener("click", (event) => {
  const shown = memory();
  if (!shown || !shown.live.length) return;
  const i = Math.floor((event.offsetX / timeline.clientWidth) * shown.live.length);
  goTo(equationLine(state.step, shown.function, Math.min(i, shown.live.length - 1)));
});
memoryFunction.addEventListener("change", drawMemory);
