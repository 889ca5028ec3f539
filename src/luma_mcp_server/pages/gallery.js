const byId = (id) => document.getElementById(id);
const [filters, grid, dialog, more] = ["filters", "grid", "dialog", "more"].map(byId);
const motion = matchMedia("(prefers-reduced-motion: no-preference)");
const longDate = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const shortDate = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
const dayOnly = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });
const shown = new Map(); // the cards in the grid, by id, each with what it was made from
const scrolling = new IntersectionObserver(([seen]) => seen.isIntersecting && extend(), { rootMargin: "400px" });
let everything = 0; // how many generations there are, whatever the filters
let turn = 0; // counts the changes of the filters: a late answer to earlier ones is dropped

const when = (generation, format = longDate) => format.format(new Date(generation.created_at));
const named = (day) => dayOnly.format(new Date(day));
const seconds = (count) => `${Math.round(count)} s`;
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

/** The stage of a card, with a poster as far as there is one. */
function poster(generation) {
  const [file] = generation.files;
  if (!file?.kind) return make("span", { class: "stage empty" }, nothingToShow(generation));
  const whole = () =>
    file.kind === "video"
      ? make("video", { src: address(generation, 0), preload: "metadata", playsinline: true, tabindex: -1 })
      : make("img", { src: address(generation, 0), alt: "", loading: "lazy" });
  const picture = generation.poster
    ? make("img", { src: `poster/${encodeURIComponent(generation.id)}`, alt: "", loading: "lazy" })
    : whole();
  if (generation.poster) picture.addEventListener("error", () => picture.replaceWith(whole()), { once: true });
  return make("span", { class: "stage" }, picture, file.kind === "video" && generation.duration && make("span", { class: "length" }, generation.duration));
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
  const about = [
    make("span", { class: "prompt" }, title(generation)),
    make("span", { class: "facts" }, facts(generation)),
    make("span", { class: "between facts" }, badge(generation.state), make("span", { class: "line" }, [generation.buyer, when(generation, shortDate)].filter(Boolean).join(" · "))),
    file && make("span", { class: "facts", title: file.path }, file.name),
  ];
  const button = make("button", { type: "button", class: "card", click: () => view(item), pointerenter: () => play(stage, generation), pointerleave: () => release(stage.querySelector(".preview")) }, stage, make("span", { class: "about" }, about));
  const item = make("li", {}, button);
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
  byId("matching").textContent = filtered ? `${matching} of ${everything} match` : everything ? "Everything, newest first" : "";
  byId("read").textContent = `Updated at ${new Date().toLocaleTimeString()}. States are as last seen by the server; the gallery does not contact Luma.`;
  more.hidden = shown.size >= matching;
  explainNothing(matching, filtered);
}

function restart() {
  turn += 1;
  return attempt(() => load(0, (generations) => {
    shown.clear();
    grid.replaceChildren(...generations.map(card));
  }));
}

async function extend() {
  await attempt(() => load(shown.size, (generations) => grid.append(...generations.filter((one) => !shown.has(one.id)).map(card))));
  scrolling.unobserve(more);
  scrolling.observe(more); // told again, should the button be in sight still
}

function explainNothing(matching, filtered) {
  const message = byId("message");
  message.hidden = matching > 0;
  if (filtered) return message.replaceChildren(make("h2", {}, "Nothing matches"), make("p", {}, "Try fewer words, or clear the filters."));
  message.replaceChildren(
    make("h2", {}, "Nothing has been made yet"),
    make("p", {}, "Ask your assistant for a video or an image: it appears here as soon as it is bought."),
    make("p", {}, "To try it for free: ", make("code", {}, "luma-mcp-server demo"), ", then ", make("code", {}, "luma-mcp-server gallery --sandbox"), "."),
  );
}

// Totals, spending, what runs now

function totals(overview) {
  const { spent_24h_usd: spent, budget_usd: budget, spent_total_usd: total } = overview;
  const pair = (name, value, ...below) => make("div", {}, make("dt", {}, name), make("dd", {}, value, ...below));
  byId("totals").replaceChildren(
    pair("Generations", everything.toLocaleString()),
    pair("Spent in 24 hours", dollars(spent), budget !== null && make("small", {}, ` of ${dollars(budget)}`), budget !== null && make("progress", { class: "bar", max: budget || 1, value: Math.min(spent, budget || 1), "aria-label": "Share of budget spent" })),
    pair("Total spent", dollars(total)),
  );
}

function spending({ days, spending: spent, budget_usd: budget }) {
  const sums = (key) => spent.reduce((found, one) => found.set(one[key], (found.get(one[key]) || 0) + one.usd), new Map());
  const [byDay, byModel] = [sums("day"), sums("model")];
  const models = [...byModel.keys()].sort((one, other) => byModel.get(other) - byModel.get(one));
  const hue = (model) => `hue${Math.min(models.indexOf(model), 6)}`;
  const most = Math.max(...byDay.values(), 0);
  const inSight = budget !== null && budget > 0 && budget <= 4 * most;
  const top = Math.max(most, inSight ? budget : 0) * 1.18 || 1; // with room for a label
  const plot = make("div", { class: "plot" });
  for (const day of days) {
    const parts = models.flatMap((model) => spent.filter((one) => one.day === day && one.model === model));
    const words = `${named(day)}: ${dollars(byDay.get(day) || 0)}${parts.length ? ` (${parts.map((one) => `${one.model} ${dollars(one.usd)}`).join(", ")})` : ""}`;
    const choose = () => { filters.elements.day.value = filters.elements.day.value === day ? "" : day; filtersChanged(); };
    const column = parts.length
      ? make("button", { type: "button", class: "day", "data-day": day, title: words, "aria-label": `${words}. Show this day`, "aria-pressed": String(filters.elements.day.value === day), click: choose })
      : make("span", { class: "day", title: words });
    for (const one of parts) {
      const part = make("span", { class: hue(one.model) });
      part.style.height = `${(100 * one.usd) / top}%`;
      column.append(part);
    }
    plot.append(column);
  }
  if (most > 0) {
    const line = make("div", { class: "most" }, dollars(most));
    line.style.bottom = `${(100 * most) / top}%`;
    plot.prepend(line);
  }
  const legend = models.map((model) => make("li", { class: hue(model) }, model));
  if (budget !== null) legend.push(make("li", { class: "limit" }, `budget ${dollars(budget)} in any 24 hours${inSight ? "" : ", above this chart"}`));
  if (inSight) {
    const line = make("div", { class: "limit" });
    line.style.bottom = `${(100 * budget) / top}%`;
    plot.append(line);
  }
  byId("spending").replaceChildren(
    make("figcaption", {}, make("h2", {}, `Spending, last ${days.length} days`), make("ul", { class: "legend" }, legend)),
    plot,
    make("p", { class: "days" }, [days[0], days[days.length >> 1], days.at(-1)].map((day) => make("span", {}, named(day)))),
  );
}

function running(generations) {
  byId("running").hidden = !generations.length;
  byId("running").querySelector("ul").replaceChildren(
    ...generations.map((generation) => {
      const { elapsed_s: elapsed, expected_s: expected } = generation;
      const late = expected !== null && elapsed > expected;
      const words = expected === null ? seconds(elapsed) : late ? `${seconds(elapsed)}, longer than usual` : `${seconds(elapsed)} of about ${seconds(expected)}`;
      return make("li", {}, make("span", { class: "line" }, title(generation)), make("progress", { class: "bar", max: expected || 1, value: expected === null ? false : Math.min(elapsed, expected), "aria-label": `${title(generation)}: ${words}` }), make("span", { class: "between facts" }, badge(generation.state), words));
    }),
  );
}

function choices(name, all, counts) {
  const select = filters.elements[name];
  const chosen = select.value;
  const options = Object.entries(counts).map(([value, count]) => make("option", { value }, `${value} (${count})`));
  select.replaceChildren(make("option", { value: "" }, all), ...options);
  select.value = chosen in counts ? chosen : "";
}

async function loadOverview() {
  const overview = await getJson("overview");
  everything = Object.values(overview.states).reduce((sum, count) => sum + count, 0);
  byId("sandbox").hidden = !overview.sandbox;
  for (const part of ["panels", "found", "filters"]) byId(part).hidden = !everything;
  totals(overview);
  const now = JSON.stringify([overview.states, overview.models, overview.spending]);
  if (now !== loadOverview.drawn) { // drawn again only if they differ: the focus may be in them
    choices("state", "All states", overview.states);
    choices("model", "All models", overview.models);
    spending(overview);
  }
  loadOverview.drawn = now;
  running(overview.running);
}

// One generation, large

const pairs = (entries) => make("dl", { class: "pairs" }, entries.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
const section = (name, ...content) => make("section", {}, make("h2", {}, name), ...content);

function path(file) {
  const copy = async (event) => {
    await navigator.clipboard.writeText(file.path);
    event.target.textContent = "Copied";
  };
  return make("li", {}, make("code", {}, file.path), make("button", { type: "button", click: copy, "aria-label": `Copy the path of ${file.name}` }, "Copy"));
}

function details(generation) {
  const { arguments: given = {}, files, note, took_s: took, buyer, charged, operation } = generation;
  const { prompt, ...others } = given;
  const words = (value) => (typeof value === "object" ? [value].flat().join(", ") : String(value));
  const known = [
    ["made with", operation],
    ["bought", when(generation)],
    ["buyer", buyer],
    ["took", took && seconds(took)],
    ["charged", charged],
    ["id", generation.id],
  ];
  return make("div", { class: "side" },
    make("p", { class: "prompt" }, title(generation)),
    make("p", { class: "facts" }, facts(generation)),
    note && make("p", { class: "note" }, note),
    pairs(known.filter(([, value]) => value)),
    Object.keys(others).length > 0 && section("Arguments", pairs(Object.entries(others).map(([name, value]) => [name, words(value)]))),
    files.length > 0 && section(files.length > 1 ? "Files" : "File", make("ul", { class: "paths" }, files.map(path))),
  );
}

async function enlarge(stage, generation) {
  const [file] = generation.files;
  const element = file?.kind ? await loaded(file.kind === "video" ? "video" : "img", address(generation, 0), title(generation)) : null;
  stage.replaceChildren(element || make("p", {}, file ? "This browser can't show that file." : nothingToShow(generation)));
  if (!stage.isConnected) return release(stage.querySelector("video")); // the user has gone on
  if (file?.kind === "video" && motion.matches) element?.play().catch(() => {}); // without leave to: when asked
}

function view(item) {
  const { generation } = item;
  const stage = make("div", { class: "stage" });
  const go = (name, sign, to) => make("button", { type: "button", disabled: !to, click: () => view(to), "aria-label": name }, sign);
  const parts = generation.files.map((file, number) => number > 0 && file.kind === "image" && make("li", {}, make("img", { src: address(generation, number), alt: "" }), make("span", {}, file.name.slice(file.name.indexOf(generation.id) + generation.id.length + 1))));
  release(dialog.querySelector("video"));
  const header = make("header", {}, badge(generation.state), go("Previous", "‹", item.previousElementSibling), go("Next", "›", item.nextElementSibling), make("button", { type: "button", click: () => dialog.close(), autofocus: true }, "Close"));
  dialog.replaceChildren(header, make("div", { class: "inside" }, make("div", {}, stage, parts.some(Boolean) && make("ul", { class: "parts" }, parts)), details(generation)));
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
  for (const column of document.querySelectorAll("button.day")) column.setAttribute("aria-pressed", String(column.dataset.day === chosen));
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
setInterval(() => document.hidden || attempt(async () => { await loadOverview(); await load(0, merge); }), 5000);
attempt(loadOverview).then(restart);
