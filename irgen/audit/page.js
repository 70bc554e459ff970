// The audit's page. An item is a box that was found, or one added by hand; places are in the image's pixels.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const LEAST_PX = 2;
const CORNERS = { nw: [0, 0], ne: [1, 0], sw: [0, 1], se: [1, 1] };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LIGHTS = [1, 1.8, 3];
const find = (id) => document.getElementById(id);
const svg = (tag, attributes) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

const state = { images: [], classes: [], at: 0, chosen: -1, light: 0, held: null, pending: 0, failed: false };
let saving = Promise.resolve();

async function start() {
  const session = await (await fetch("session")).json();
  state.classes = session.classes;
  state.images = session.images.map(toImage);
  find("dataset").textContent = session.dataset;
  document.title = `Audit of ${session.dataset}`;
  const first = state.images.findIndex((image) => !image.done);
  show(first < 0 ? 0 : first);
  if (first < 0) finish();
}

function toImage(image) {
  const places = image.boxes.map(({ label, x_px, y_px, w_px, h_px }) => ({ label, x_px, y_px, w_px, h_px }));
  const items = image.boxes.map((box, number) => {
    const said = image.answer ? image.answer.verdicts[number] : { verdict: "open", place: { ...places[number] } };
    return { box, was: places[number], verdict: said.verdict, place: { ...said.place } };
  });
  const added = image.answer ? image.answer.added : [];
  return { ...image, items: [...items, ...added.map(toAdded)], done: Boolean(image.answer && image.answer.done) };
}

const toAdded = (place) => ({ box: null, was: null, verdict: "added", place: { ...place } });
const current = () => state.images[state.at];
const chosen = () => current().items[state.chosen];
const isOpen = (item) => item.verdict === "open";

// Showing

function show(at) {
  state.at = (at + state.images.length) % state.images.length;
  const open = current().items.findIndex(isOpen);
  state.chosen = open < 0 ? Math.min(0, current().items.length - 1) : open;
  toast("");
  render();
}

function render() {
  const image = current();
  const done = state.images.filter((each) => each.done).length;
  find("progress").max = state.images.length;
  find("progress").value = done;
  find("count").textContent = `${done} of ${state.images.length} done`;
  find("place").textContent = `image ${state.at + 1}${image.done ? ", done" : ""}`;
  find("caption").textContent = image.caption;
  find("facts").textContent = `${image.key}, ${image.width_px} x ${image.height_px} px, ` +
    `agreement ${image.agreement.toFixed(2)}`;
  find("empty").hidden = image.items.length > 0;
  find("boxes").replaceChildren(...image.items.map(listed));
  renderView();
}

function listed(item, number) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = styleOf(item);
  button.setAttribute("aria-current", String(number === state.chosen));
  const parts = [["", { accept: "✓", reject: "✗", fix: "✎", added: "+" }[item.verdict] || "?"],
    ["name", item.place.label + (item.box && item.box.ignore ? " (to ignore)" : "")],
    ["figure soft", item.box ? `${item.verdict}, score ${item.box.score.toFixed(2)}` : "added by hand"]];
  for (const [style, text] of parts) {
    const span = document.createElement("span");
    span.className = style;
    span.textContent = text;
    button.append(span);
  }
  button.addEventListener("click", () => { state.chosen = number; render(); find("view").focus(); });
  const row = document.createElement("li");
  row.append(button);
  return row;
}

const styleOf = (item) => `${item.verdict}${item.box && item.box.ignore ? " ignore" : ""}`;

function renderView() {
  const image = current();
  const view = find("view");
  const margin = 0.02 * Math.max(image.width_px, image.height_px);
  const frame = [-margin, -margin, image.width_px + 2 * margin, image.height_px + 2 * margin];
  view.setAttribute("viewBox", frame.join(" "));
  const scale = Math.min(view.clientWidth / frame[2], view.clientHeight / frame[3]) || 1;
  const picture = pictureOf(image);
  picture.style.filter = `brightness(${LIGHTS[state.light]})`;
  pictureOf(state.images[(state.at + 1) % state.images.length]);
  const order = image.items.map((item, number) => number).sort((a, b) => (a === state.chosen) - (b === state.chosen));
  const boxes = order.map((number) => drawn(image.items[number], number, scale));
  if (view.firstChild === picture) {
    while (view.lastChild !== picture) view.lastChild.remove();
    view.append(...boxes);
  } else {
    view.replaceChildren(picture, ...boxes);
  }
}

// Kept, so that it neither flickers nor is fetched again; the next one is asked for ahead.
function pictureOf(image) {
  image.picture ||= svg("image", { href: `images/${image.key}`, width: image.width_px, height: image.height_px });
  return image.picture;
}

function drawn(item, number, scale) {
  const group = svg("g", { class: `${styleOf(item)}${number === state.chosen ? " chosen" : ""}` });
  const { x_px: x, y_px: y, w_px: width, h_px: height } = item.place;
  if (item.verdict === "fix") {
    const { x_px, y_px, w_px, h_px } = item.was;
    group.append(svg("rect", { class: "was", x: x_px, y: y_px, width: w_px, height: h_px }));
  }
  group.append(svg("rect", { class: "under", x, y, width, height }));
  group.append(svg("rect", { class: "box", x, y, width, height, "data-item": number }));
  const size = 13 / scale;
  const above = y > 1.4 * size;
  const name = svg("text", { x, y: above ? y - 0.4 * size : y + height + size, "font-size": size });
  name.textContent = item.place.label;
  group.append(name);
  if (number !== state.chosen || item.verdict === "reject") return group;
  const grip = 9 / scale;
  for (const [corner, [right, low]] of Object.entries(CORNERS)) {
    group.append(svg("rect", { class: `corner ${corner}`, "data-item": number, "data-corner": corner,
      x: x + right * width - grip / 2, y: y + low * height - grip / 2, width: grip, height: grip }));
  }
  return group;
}

function toast(text, bad = false) {
  find("toast").textContent = text;
  find("toast").className = bad ? "bad" : "";
}

// Answering

function say(verdict) {
  const item = chosen();
  if (!item) return toast("There is no box here: drag over an object to add one, or press Enter.");
  if (item.verdict === "added") {
    if (verdict === "reject") return remove();
    return next();
  }
  if (verdict === "accept" && item.verdict === "fix") return next();
  item.verdict = verdict;
  item.place = { ...item.was };
  changed();
  next();
}

function rejectIgnored() {
  for (const item of current().items) {
    if (isOpen(item) && item.box.ignore) item.verdict = "reject";
  }
  changed();
  next();
}

function undo() {
  const item = chosen();
  if (!item) return;
  if (item.verdict === "added") return remove();
  item.verdict = "open";
  item.place = { ...item.was };
  current().done = false;
  changed();
}

function remove() {
  current().items.splice(state.chosen, 1);
  state.chosen = Math.min(state.chosen, current().items.length - 1);
  changed();
}

function next() {
  const open = current().items.findIndex(isOpen);
  if (open >= 0) state.chosen = open;
  else toast("All boxes said. Anything without a box? Drag over it; else Enter.");
  render();
}

function choose(step) {
  const count = current().items.length;
  if (count) state.chosen = (state.chosen + step + count) % count;
  render();
}

function setPlace(item, place) {
  const { width_px, height_px } = current();
  const w = Math.min(Math.max(place.w_px, LEAST_PX), width_px);
  const h = Math.min(Math.max(place.h_px, LEAST_PX), height_px);
  const x = Math.min(Math.max(place.x_px, 0), width_px - w);
  const y = Math.min(Math.max(place.y_px, 0), height_px - h);
  item.place = { ...item.place, x_px: x, y_px: y, w_px: w, h_px: h };
  if (item.verdict !== "added") item.verdict = "fix";
}

function nudge([dx, dy], resize) {
  const item = chosen();
  if (!item) return;
  const { x_px, y_px, w_px, h_px } = item.place;
  setPlace(item, resize ? { x_px, y_px, w_px: w_px + dx, h_px: h_px + dy } : { x_px: x_px + dx, y_px: y_px + dy, w_px, h_px });
  changed();
}

function nextClass() {
  const item = chosen();
  if (!item) return;
  const place = (state.classes.indexOf(item.place.label) + 1) % state.classes.length;
  item.place = { ...item.place, label: state.classes[place] };
  if (item.verdict !== "added") item.verdict = "fix";
  changed();
}

function enter() {
  const image = current();
  const doubtful = image.items.findIndex((item) => isOpen(item) && item.box.ignore);
  for (const item of image.items) {
    if (isOpen(item) && !item.box.ignore) item.verdict = "accept";
  }
  if (doubtful >= 0) {
    state.chosen = doubtful;
    changed();
    return toast("The dashed box is one to ignore: is there an object in it? A yes, R no, X in none of them.");
  }
  image.done = true;
  changed();
  const later = state.images.findIndex((each, number) => number > state.at && !each.done);
  const left = later >= 0 ? later : state.images.findIndex((each) => !each.done);
  if (left < 0) finish();
  else show(left);
}

function changed() {
  const image = current();
  const found = image.items.filter((item) => item.box);
  const answer = {
    verdicts: found.map(({ verdict, place }) => ({ verdict, place })),
    added: image.items.filter((item) => !item.box).map((item) => item.place),
    done: image.done && !image.items.some(isOpen),
  };
  image.done = answer.done;
  render();
  save(image.key, JSON.stringify(answer));
}

// One after the other: an earlier answer must not overtake a later one.
function save(key, body) {
  state.pending += 1;
  told();
  saving = saving.then(async () => {
    try {
      const reply = await fetch(`answers/${key}`, { method: "PUT", body, headers: { "Content-Type": "application/json" } });
      if (!reply.ok) throw new Error((await reply.json()).error);
      state.failed = false;
    } catch (error) {
      state.failed = true;
      toast(`Not saved: ${error.message}. Is irgen audit still running? Change this image again when it is.`, true);
    }
    state.pending -= 1;
    told();
  });
}

function told() {
  find("saved").textContent = state.failed ? "NOT saved" : state.pending ? "saving" : "saved";
  find("saved").className = state.failed ? "bad" : "";
}

async function finish() {
  await saving;
  if (state.failed) return;
  const figures = await (await fetch("figures")).json();
  const table = document.createElement("table");
  for (const name of ["precision", "recall", "recall_apart_from_ignored"]) {
    const { value, n, interval } = figures[name];
    const cells = [name.replaceAll("_", " "), value === null ? "none" : value.toFixed(3),
      `[${interval.map((end) => end.toFixed(3)).join(", ")}]`, `N ${n}`];
    const row = table.insertRow();
    for (const cell of cells) row.insertCell().textContent = cell;
  }
  find("figures").replaceChildren(table);
  find("end").showModal();
}

// Keys and pointer

const KEYS = {
  a: () => say("accept"), " ": () => say("accept"), r: () => say("reject"), u: undo, Delete: undo, Backspace: undo,
  x: rejectIgnored, c: nextClass, Enter: enter, n: () => show(state.at + 1), p: () => show(state.at - 1),
  b: () => { state.light = (state.light + 1) % LIGHTS.length; renderView(); },
  h: () => { find("help").hidden = !find("help").hidden; },
};

function press(event) {
  if (find("end").open || event.ctrlKey || event.metaKey || event.altKey || state.held) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Tab") choose(event.shiftKey ? -1 : 1);
  else if (ARROWS[key]) nudge(ARROWS[key], event.shiftKey);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
}

function pointOf(event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(find("view").getScreenCTM().inverse());
  const { width_px, height_px } = current();
  return [Math.min(Math.max(at.x, 0), width_px), Math.min(Math.max(at.y, 0), height_px)];
}

function grab(event) {
  if (event.button !== 0) return;
  find("view").focus();
  const at = pointOf(event);
  const { item, corner } = event.target.dataset;
  if (item === undefined || (event.shiftKey && !corner)) {
    state.held = { from: at, item: null };
  } else {
    state.chosen = Number(item);
    state.held = { from: at, item: chosen(), was: { ...chosen().place }, corner };
    render();
  }
  find("view").setPointerCapture(event.pointerId);
}

function drag(event) {
  const held = state.held;
  if (!held) return;
  const [x, y] = pointOf(event);
  const [dx, dy] = [x - held.from[0], y - held.from[1]];
  if (!held.moved && Math.hypot(dx, dy) < 0.5) return;
  if (!held.item) {
    if (Math.min(Math.abs(dx), Math.abs(dy)) < LEAST_PX) return;
    held.item = toAdded({ label: mostCommon(), x_px: 0, y_px: 0, w_px: LEAST_PX, h_px: LEAST_PX });
    held.fresh = true;
    state.chosen = current().items.push(held.item) - 1;
  }
  held.moved = true;
  if (held.fresh) setPlace(held.item, between(held.from, [x, y]));
  else if (held.corner) setPlace(held.item, pulled(held, [x, y]));
  else setPlace(held.item, { ...held.was, x_px: held.was.x_px + dx, y_px: held.was.y_px + dy });
  render();
}

function drop() {
  const held = state.held;
  state.held = null;
  if (held && held.moved) changed();
}

const between = ([ax, ay], [bx, by]) =>
  ({ x_px: Math.min(ax, bx), y_px: Math.min(ay, by), w_px: Math.abs(bx - ax), h_px: Math.abs(by - ay) });

function pulled({ was, corner }, at) {
  const [right, low] = CORNERS[corner];
  return between([was.x_px + (1 - right) * was.w_px, was.y_px + (1 - low) * was.h_px], at);
}

function mostCommon() {
  const labels = state.images.flatMap((image) => image.items.map((item) => item.place.label));
  const count = (label) => labels.filter((each) => each === label).length;
  return state.classes.reduce((best, label) => (count(label) > count(best) ? label : best));
}

document.addEventListener("keydown", press);
find("view").addEventListener("pointerdown", grab);
find("view").addEventListener("pointermove", drag);
find("view").addEventListener("pointerup", drop);
find("view").addEventListener("pointercancel", drop);
for (const button of document.querySelectorAll("[data-key]")) {
  button.addEventListener("click", () => { KEYS[button.dataset.key](); find("view").focus(); });
}
find("back").addEventListener("click", () => { find("end").close(); show(0); });
new ResizeObserver(() => state.images.length && renderView()).observe(find("view"));
start().catch((error) => toast(`The audit could not be opened: ${error.message}`, true));
