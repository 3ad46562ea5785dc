"use strict";
// Names come from strangers: they reach the page through textContent only.
const data = JSON.parse(document.getElementById("data").textContent);
const picture = document.getElementById("picture");
const details = document.getElementById("details");
const search = document.getElementById("search");
const found = document.getElementById("found");
const whole = { x: 0, y: 0, w: Number(picture.dataset.w), h: Number(picture.dataset.h) };
let view = { ...whole };

const parents = data.nodes.map(() => []);
const children = data.nodes.map(() => []);
for (const [child, parent, relation] of data.edges) {
  parents[child].push([parent, relation]);
  children[parent].push([child, relation]);
}
const boxes = [];
for (const box of picture.querySelectorAll("[data-n]")) boxes[Number(box.dataset.n)] = box;
const lines = [...picture.querySelectorAll("[data-t],[data-c]")];

function show() {
  picture.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
}

// The scale and the empty margins of the drawn box inside the element.
function frame() {
  const box = picture.getBoundingClientRect();
  const scale = Math.min(box.width / view.w, box.height / view.h);
  return { scale, left: box.left + (box.width - view.w * scale) / 2, top: box.top + (box.height - view.h * scale) / 2 };
}

function zoom(factor, clientX, clientY) {
  const box = picture.getBoundingClientRect();
  const { scale, left, top } = frame();
  const px = clientX ?? box.left + box.width / 2;
  const py = clientY ?? box.top + box.height / 2;
  const x = view.x + (px - left) / scale;
  const y = view.y + (py - top) / scale;
  const w = Math.min(Math.max(view.w * factor, 200), whole.w * 4);
  const f = w / view.w;
  view = { x: x - (x - view.x) * f, y: y - (y - view.y) * f, w, h: view.h * f };
  show();
}

function center(index) {
  const box = boxes[index].getBBox();
  const w = Math.min(whole.w, 1400);
  const h = (w * picture.clientHeight) / Math.max(picture.clientWidth, 1);
  view = { x: box.x + box.width / 2 - w / 2, y: box.y + box.height / 2 - h / 2, w, h };
  show();
}

picture.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, event.clientX, event.clientY);
}, { passive: false });

let drag = null;
picture.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY, moved: false };
});
picture.addEventListener("pointermove", (event) => {
  if (!drag || !(event.buttons & 1)) return;
  const { scale } = frame();
  const dx = event.clientX - drag.x;
  const dy = event.clientY - drag.y;
  if (!drag.moved && Math.abs(dx) + Math.abs(dy) < 4) return;
  if (!drag.moved) picture.setPointerCapture(event.pointerId);
  view.x -= dx / scale;
  view.y -= dy / scale;
  drag = { x: event.clientX, y: event.clientY, moved: true };
  show();
});
picture.addEventListener("click", (event) => {
  const moved = drag && drag.moved;
  drag = null;
  if (moved) return;
  const box = event.target.closest("[data-n]");
  choose(box ? Number(box.dataset.n) : null);
});

// Everything that can be reached over these links.
function reach(start, links) {
  const seen = new Set([start]);
  const waiting = [start];
  while (waiting.length) {
    for (const [next] of links[waiting.pop()]) {
      if (!seen.has(next)) {
        seen.add(next);
        waiting.push(next);
      }
    }
  }
  return seen;
}

let chosen = null;
function choose(index) {
  chosen = index;
  const up = index === null ? null : reach(index, parents);
  const down = index === null ? null : reach(index, children);
  boxes.forEach((box, at) => {
    box.classList.toggle("dim", up !== null && !up.has(at) && !down.has(at));
    box.classList.toggle("chosen", at === index);
  });
  for (const line of lines) {
    const c = Number(line.dataset.c);
    const p = Number(line.dataset.p);
    const on = up === null || (up.has(c) && up.has(p)) || (down.has(c) && down.has(p));
    line.classList.toggle("dim", line.dataset.c === undefined ? up !== null && !trunkOn(line, up, down) : !on);
  }
  describe();
}

function trunkOn(trunk, up, down) {
  return (branches.get(trunk.dataset.t) ?? []).some(([c, p]) => (up.has(c) && up.has(p)) || (down.has(c) && down.has(p)));
}

const branches = new Map();
for (const line of lines) {
  if (line.dataset.t === undefined || line.dataset.c === undefined) continue;
  if (!branches.has(line.dataset.t)) branches.set(line.dataset.t, []);
  branches.get(line.dataset.t).push([Number(line.dataset.c), Number(line.dataset.p)]);
}

const folded = new Set();
function fold() {
  // Seen is what can be reached from above without going through something folded.
  const seen = new Set();
  const waiting = [];
  parents.forEach((above, at) => { if (!above.length) waiting.push(at); });
  if (!waiting.length) data.nodes.forEach((_, at) => waiting.push(at));
  while (waiting.length) {
    const at = waiting.pop();
    if (seen.has(at)) continue;
    seen.add(at);
    if (!folded.has(at)) for (const [child] of children[at]) waiting.push(child);
  }
  boxes.forEach((box, at) => {
    box.classList.toggle("gone", !seen.has(at));
    box.classList.toggle("folded", folded.has(at));
  });
  const there = ([c, p]) => seen.has(c) && seen.has(p) && !folded.has(p);
  for (const line of lines) {
    const on = line.dataset.c === undefined
      ? (branches.get(line.dataset.t) ?? []).some(there)
      : there([Number(line.dataset.c), Number(line.dataset.p)]);
    line.classList.toggle("gone", !on);
  }
}

function add(parent, tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  parent.append(element);
  return element;
}

function describe() {
  details.replaceChildren();
  details.hidden = chosen === null;
  if (chosen === null) return;
  const node = data.nodes[chosen];
  add(details, "h2", node.name);
  add(details, "p", (node.kind ?? "statement missing") + (node.marked ? ", marked" : ""));
  for (const part of ["id", "root", "tensors", "signer"]) {
    if (node[part]) add(add(details, "p", (part === "id" ? "statement" : part) + " "), "code", node[part]);
  }
  for (const [word, links] of [["from", parents[chosen]], ["into", children[chosen]]]) {
    for (const [other, relation] of links.slice(0, 50)) {
      add(details, "button", `${word}: ${relation} ${data.nodes[other].name}`, "link").addEventListener("click", () => {
        choose(other);
        center(other);
      });
    }
    if (links.length > 50) add(details, "p", `${word}: and ${links.length - 50} more`);
  }
  if (children[chosen].length) {
    const here = chosen;
    add(details, "button", folded.has(here) ? "Unfold" : "Fold what was made from it").addEventListener("click", () => {
      if (!folded.delete(here)) folded.add(here);
      fold();
      describe();
    });
  }
}

let hits = [];
let hit = -1;
search.addEventListener("input", () => {
  const word = search.value.trim().toLowerCase();
  hits = [];
  data.nodes.forEach((node, at) => {
    const fits = word !== "" && (node.name.toLowerCase().includes(word) || node.id.startsWith(word) || node.root.startsWith(word));
    boxes[at].classList.toggle("hit", fits);
    boxes[at].classList.toggle("dim", word !== "" && !fits);
    if (fits) hits.push(at);
  });
  hit = -1;
  found.textContent = word === "" ? "" : `${hits.length} found`;
});
search.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !hits.length) return;
  hit = (hit + 1) % hits.length;
  found.textContent = `${hit + 1} of ${hits.length}`;
  center(hits[hit]);
});
document.getElementById("in").addEventListener("click", () => zoom(1 / 1.4));
document.getElementById("out").addEventListener("click", () => zoom(1.4));
document.getElementById("fit").addEventListener("click", () => { view = { ...whole }; show(); });
document.getElementById("unfold").addEventListener("click", () => { folded.clear(); fold(); choose(null); });
document.addEventListener("keydown", (event) => {
  if (event.target === search) return;
  if (event.key === "/") { event.preventDefault(); search.focus(); }
  if (event.key === "Escape") choose(null);
});
picture.dataset.ready = "yes";
