"use strict";
// The text of lines as coloured pieces. Names of values are told by the function that they stand in.

const TOKEN = /"(?:[^"\\]|\\.)*"|`[^`]*`|[@$](?:`[^`]*`|[\w.]+)|~?[a-z]\w*(?:<[^>]*>)?\[[\d, ]*\]|[^\W\d][\w.]*|-?(?:\d[\w.+-]*|inf|nan)|\s+|./gu;
const WORDS = new Set(["func", "private", "return", "constant", "module"]);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function kindOf(token, names, last) {
  const first = token[0];
  if (first === "@" || first === "$") return "f";
  if (first === '"') return "n";
  if (/^~?[a-z]\w*(?:<[^>]*>)?\[[\d, ]*\]$/.test(token)) return "t";
  if (WORDS.has(token)) return "k";
  if (last === "=" && /^[^\W\d]/.test(token)) return "o";
  if (names.has(token)) return "v";
  if (/^[-\d]/.test(token) && token !== "-") return "n";
  return "";
}

// A line's pieces: [text, class]. What follows `= ` on the top level is an operation.
function tokens(text, names) {
  const found = [];
  let last = "", depth = 0;
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "[" || token === "(") depth += 1;
    if (token === "]" || token === ")") depth -= 1;
    const inParameters = depth > 0 && !/^\s*func /.test(text);
    found.push([token, kindOf(token, inParameters ? new Set() : names, depth ? "" : last)]);
    if (token.trim()) last = token;
  }
  return found;
}

function spell(parent, text, names, query) {
  for (const [token, kind] of tokens(text, names)) {
    const piece = kind ? element("span", kind) : document.createDocumentFragment();
    if (kind === "v") piece.dataset.name = token;
    marked(piece, token, query);
    parent.append(piece);
  }
}

function marked(parent, text, query) {
  const at = query ? text.toLowerCase().indexOf(query) : -1;
  if (at < 0) { parent.append(text); return; }
  parent.append(text.slice(0, at), element("mark", "", text.slice(at, at + query.length)));
  marked(parent, text.slice(at + query.length), query);
}

function size(bytes) {
  if (bytes === undefined || bytes === null) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (bytes >= 1024 && i < units.length - 1) { bytes /= 1024; i += 1; }
  return `${i && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[i]}`;
}
