// What is known of a value: as a tip under the pointer, and as buttons below the listing.

const tip = document.getElementById("tip"), details = document.getElementById("details");
const USERS = 8;

function describe(step, owner, name) {
  const value = owner.names.get(name);
  const users = value.users.slice(0, USERS).map((i) => `  ${i + 1}: ${lineAt(step, i).t.trim()}`);
  if (value.users.length > USERS) users.push(`  and ${value.users.length - USERS} more`);
  const count = value.users.length;
  const head = `${name}: ${value.type}\nmade at ${value.made + 1}: ${lineAt(step, value.made).t.trim()}`;
  return [head, count ? `read by ${count}:` : "read by nothing", ...users].join("\n");
}

function showTip(target, x, y) {
  const row = state.rows[target.closest(".row").dataset.row];
  const owner = programOf(row.step).owner[row.line], name = target.dataset.name;
  tip.textContent = describe(row.step, owner, name);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 8) : y + 18}px`;
  for (const other of rowBox.querySelectorAll(".v")) {
    const beside = state.rows[other.closest(".row").dataset.row];
    const same = beside.step === row.step && programOf(beside.step).owner[beside.line] === owner;
    other.classList.toggle("same", same && other.dataset.name === name);
  }
}

function hideTip() {
  tip.hidden = true;
  for (const other of rowBox.querySelectorAll(".same")) other.classList.remove("same");
}

function lineButton(i, text) {
  const button = element("button", "", text);
  button.addEventListener("click", () => { goTo(i); listing.focus(); });
  return button;
}

function showDetails() {
  details.replaceChildren();
  const row = state.rows[state.cursor];
  if (!row || row.gap) return;
  const line = lineAt(row.step, row.line), owner = programOf(row.step).owner[row.line];
  const removed = row.step !== state.step ? " (removed by this step)" : "";
  details.append(element("div", "", `line ${row.line + 1}${owner ? ` of @${owner.name}` : ""}${removed}`));
  if (!owner || removed) return;
  valuesBox("makes", line.d ? line.d.map(([name]) => name) : [], owner, true);
  valuesBox("reads", [...new Set(line.u || [])], owner, false);
}

// One line for each value: a button to where it is made, or buttons to all that read it.
function valuesBox(title, names, owner, toUsers) {
  for (const name of names) {
    const value = owner.names.get(name);
    if (!value) continue;
    const box = element("div", "", `${title} ${name}: ${value.type} `);
    if (!toUsers) box.append(lineButton(value.made, `made at ${value.made + 1}`));
    else if (!value.users.length) box.append("(read by nothing)");
    else for (const i of value.users.slice(0, 40)) box.append(lineButton(i, `read at ${i + 1}`));
    details.append(box);
  }
}

listing.addEventListener("mouseover", (event) => {
  if (event.target.closest(".v")) showTip(event.target.closest(".v"), event.clientX, event.clientY);
  else hideTip();
});
listing.addEventListener("mouseleave", hideTip);
listing.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  choose(Number(row.dataset.row));
  if (event.target.closest(".place")) openPanel("source");
});
listing.addEventListener("dblclick", (event) => {
  const value = event.target.closest(".v");
  if (!value) return;
  const row = state.rows[value.closest(".row").dataset.row];
  const owner = programOf(row.step).owner[row.line];
  if (row.step === state.step) goTo(owner.names.get(value.dataset.name).made);
});
