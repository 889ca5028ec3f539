const byId = (id) => document.getElementById(id);
const [filters, grid, dialog, more] = ["filters", "grid", "dialog", "more"].map(byId);
const motion = matchMedia("(prefers-reduced-motion: no-preference)");
const longDate = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const shortDate = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "numeric",
  minute: "2-digit",
});
const dayOnly = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });
const shown = new Map(); // the cards in the grid, by id, each with what it was made from
const scrolling = new IntersectionObserver(([seen]) => seen.isIntersecting && extend(), { rootMargin: "400px" });
let everything = 0; // how many generations there are, whatever the filters
let turn = 0; // counts the changes of the filters: a late answer to earlier ones is dropped

const when = (generation, format = longDate) => format.format(new Date(generation.created_at));
const named = (day) => dayOnly.format(new Date(day));
const seconds = (count) => (count < 120 ? `${Math.round(count)} s` : `${Math.round(count / 60)} min`);
const address = (generation, number) => `file/${encodeURIComponent(generation.id)}/${number}`;
const title = (generation) => generation.prompt || (generation.operation || "generation").replaceAll("_", " ");

async function getJson(path) {
  let response;
  try {
    response = await fetch(path);
  } catch {
    throw new Error("The gallery has stopped. Start it again: luma-mcp-server gallery");
  }
  if (response.ok) return response.json();
  const body = await response.text();
  throw new Error(body.startsWith("{") ? JSON.parse(body).error : body || `HTTP ${response.status}`);
}

/** Do something; what goes wrong is said at the top of the page, until something works again. */
async function attempt(work) {
  const trouble = byId("trouble");
  try {
    await work();
    trouble.hidden = true;
  } catch (error) {
    trouble.textContent = error.message;
    trouble.hidden = false;
  }
}

// The grid

function nothingToShow(generation) {
  if (generation.state === "failed") return generation.charged === "no" ? "Failed, not charged" : "Failed";
  if (generation.state === "completed") return "File not found: never saved, or moved";
  if (generation.state === "deleted") return "Deleted at Luma";
  if (generation.state === "unknown") return "Luma's answer was lost";
  return "Not finished when last seen";
}

/** The stage of a card: its poster, or the file itself where no posters can be made. */
function poster(generation) {
  const [file] = generation.files;
  if (!file?.kind) return make("span", { class: "stage empty" }, nothingToShow(generation));
  const isVideo = file.kind === "video";
  const source = generation.poster ? `poster/${encodeURIComponent(generation.id)}` : address(generation, 0);
  const picture =
    isVideo && !generation.poster
      ? make("video", { src: source, preload: "metadata", playsinline: true, tabindex: -1 })
      : make("img", { src: source, alt: "", loading: "lazy" });
  const length = isVideo && generation.duration && make("span", { class: "length" }, generation.duration);
  return make("span", { class: "stage" }, picture, length);
}

function play(stage, generation) {
  if (!motion.matches || generation.files[0]?.kind !== "video" || stage.querySelector(".preview")) return;
  const video = make("video", { class: "preview", loop: true, playsinline: true, tabindex: -1 });
  video.muted = true; // as an attribute it counts only where the parser met it
  video.addEventListener("playing", () => video.classList.add("playing"));
  video.src = address(generation, 0);
  stage.append(video);
  video.play().catch(() => video.remove()); // the poster stays
}

/** Take a video away, and end its download: a browser opens no more than six at once. */
function release(video) {
  video?.removeAttribute("src");
  video?.load();
  video?.remove();
}

function card(generation) {
  const stage = poster(generation);
  const [file] = generation.files;
  const boughtBy = [generation.buyer, when(generation, shortDate)].filter(Boolean).join(" · ");
  const about = make(
    "span",
    { class: "about" },
    make("span", { class: "prompt" }, title(generation)),
    make("span", { class: "facts" }, facts(generation)),
    make("span", { class: "between facts" }, badge(generation.state), make("span", { class: "line" }, boughtBy)),
    file && make("span", { class: "facts", title: file.path }, file.name),
  );
  const button = make("button", { type: "button", class: "card" }, stage, about);
  const item = make("li", {}, button);
  button.addEventListener("click", () => view(item));
  button.addEventListener("pointerenter", () => play(stage, generation));
  button.addEventListener("pointerleave", () => release(stage.querySelector(".preview")));
  item.generation = generation;
  shown.set(generation.id, item);
  return item;
}

/** Bring cards up to date and put new ones in front, without moving what the user looks at. */
function merge(generations) {
  for (const generation of generations.toReversed()) {
    const old = shown.get(generation.id);
    if (!old) grid.prepend(card(generation));
    else if (JSON.stringify(old.generation) !== JSON.stringify(generation)) {
      const focused = old.contains(document.activeElement);
      const item = card(generation);
      old.replaceWith(item);
      if (focused) item.firstElementChild.focus();
    }
  }
}

async function load(offset, put) {
  const mine = turn;
  const wanted = new URLSearchParams(new FormData(filters));
  wanted.set("offset", offset);
  const { generations, matching } = await getJson(`generations?${wanted}`);
  if (mine !== turn) return;
  put(generations);
  const filtered = ["text", "state", "model", "day"].some((name) => wanted.get(name));
  byId("clear").hidden = !filtered;
  const all = everything ? "Everything, newest first" : "";
  byId("matching").textContent = filtered ? `${matching} of ${everything} match` : all;
  const time = new Date().toLocaleTimeString();
  byId("read").textContent =
    `Updated at ${time}. States are as last seen by the server; the gallery does not contact Luma.`;
  more.hidden = shown.size >= matching;
  explainNothing(matching, filtered);
}

function restart() {
  turn += 1;
  const replace = (generations) => {
    shown.clear();
    grid.replaceChildren(...generations.map(card));
  };
  return attempt(() => load(0, replace));
}

async function extend() {
  const append = (generations) => grid.append(...generations.filter((one) => !shown.has(one.id)).map(card));
  await attempt(() => load(shown.size, append));
  scrolling.unobserve(more);
  scrolling.observe(more); // told again, should the button be in sight still
}

function explainNothing(matching, filtered) {
  const paragraph = (...words) => make("p", {}, ...words);
  const message = byId("message");
  message.hidden = matching > 0;
  if (filtered) {
    message.replaceChildren(make("h2", {}, "Nothing matches"), paragraph("Try fewer words, or clear the filters."));
    return;
  }
  message.replaceChildren(
    make("h2", {}, "Nothing has been made yet"),
    paragraph("Ask your assistant for a video or an image: it appears here as soon as it is bought."),
    paragraph(
      "To try it for free: ",
      make("code", {}, "luma-mcp-server demo"),
      ", then ",
      make("code", {}, "luma-mcp-server gallery --sandbox"),
      ".",
    ),
  );
}

// One generation, large

const section = (name, ...content) => make("section", {}, make("h2", {}, name), ...content);

function pairs(entries) {
  const parts = entries.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return make("dl", { class: "pairs" }, parts);
}

function path(file) {
  const copy = async (event) => {
    await navigator.clipboard.writeText(file.path);
    event.target.textContent = "Copied";
  };
  const button = { type: "button", click: copy, "aria-label": `Copy the path of ${file.name}` };
  return make("li", {}, make("code", {}, file.path), make("button", button, "Copy"));
}

function details(generation) {
  const { arguments: given = {}, files, note, took_s: took, buyer, charged, operation } = generation;
  const known = [
    ["made with", operation],
    ["bought", when(generation)],
    ["buyer", buyer],
    ["took", took && seconds(took)],
    ["charged", charged],
    ["id", generation.id],
  ];
  const words = (value) => (typeof value === "object" ? [value].flat().join(", ") : String(value));
  const others = Object.entries(given).filter(([name]) => name !== "prompt");
  return make(
    "div",
    { class: "side" },
    make("p", { class: "prompt" }, title(generation)),
    make("p", { class: "facts" }, facts(generation)),
    note && make("p", { class: "note" }, note),
    pairs(known.filter(([, value]) => value)),
    others.length > 0 && section("Arguments", pairs(others.map(([name, value]) => [name, words(value)]))),
    files.length > 0 && section(files.length > 1 ? "Files" : "File", make("ul", { class: "paths" }, files.map(path))),
  );
}

async function enlarge(stage, generation) {
  const [file] = generation.files;
  const isVideo = file?.kind === "video";
  const element = file?.kind && (await loaded(isVideo ? "video" : "img", address(generation, 0), title(generation)));
  if (!stage.isConnected || !dialog.open) return isVideo && release(element); // the user has gone on
  const missing = file ? "This browser can't show that file." : nothingToShow(generation);
  stage.replaceChildren(element || make("p", {}, missing));
  if (isVideo && motion.matches) element?.play().catch(() => {}); // without leave to: when asked
}

/** The further images of a generation, such as its layers, each with what its file's name says behind the id. */
function furtherParts(generation) {
  const { id, files } = generation;
  const images = [...files.entries()].filter(([number, file]) => number > 0 && file.kind === "image");
  if (!images.length) return null;
  const items = images.map(([number, { name }]) => {
    const image = make("img", { src: address(generation, number), alt: "" });
    return make("li", {}, image, make("span", {}, name.slice(name.indexOf(id) + id.length + 1)));
  });
  return make("ul", { class: "parts" }, items);
}

function view(item) {
  const { generation } = item;
  const stage = make("div", { class: "stage" });
  const button = (words, click, attributes) => make("button", { type: "button", click, ...attributes }, words);
  const go = (words, name, to) => button(words, () => view(to), { disabled: !to, "aria-label": name });
  const header = make(
    "header",
    {},
    badge(generation.state),
    go("‹", "Previous", item.previousElementSibling),
    go("›", "Next", item.nextElementSibling),
    button("Close", () => dialog.close(), { autofocus: true }),
  );
  const media = make("div", {}, stage, furtherParts(generation));
  release(dialog.querySelector("video"));
  dialog.replaceChildren(header, make("div", { class: "inside" }, media, details(generation)));
  dialog.setAttribute("aria-label", title(generation));
  if (!dialog.open) dialog.showModal();
  dialog.item = item;
  enlarge(stage, generation);
}

dialog.addEventListener("close", () => release(dialog.querySelector("video")));
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("keydown", (event) => {
  const to = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
  if (to && event.target.tagName !== "VIDEO" && dialog.item[to]) view(dialog.item[to]);
});

// What the user does, and the passing of time

function filtersChanged() {
  const chosen = filters.elements.day.value;
  for (const column of document.querySelectorAll("button.day")) {
    column.setAttribute("aria-pressed", String(column.dataset.day === chosen));
  }
  restart();
}

let typing;
filters.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(filtersChanged, 150);
});
filters.addEventListener("reset", () => setTimeout(filtersChanged)); // after the fields are empty
filters.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", extend);
scrolling.observe(more);
setInterval(() => {
  if (document.hidden) return;
  attempt(async () => {
    await loadOverview();
    await load(0, merge);
  });
}, 5000);
attempt(loadOverview).then(restart);
