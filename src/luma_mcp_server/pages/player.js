// ---- The host: JSON-RPC by postMessage. Source: MCP Apps, 2026-01-26.

const pending = new Map();
let host = {};  // what the host can do

function send(message) {
  parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
}

function request(method, params = {}) {
  return new Promise((resolve, reject) => {
    const id = pending.size + 1;
    pending.set(id, { resolve, reject });
    send({ id, method, params });
  });
}

const statusLine = document.getElementById("said");

function say(words) {
  statusLine.textContent = words;
}

function applyHostContext({ theme, styles }) {
  if (theme) document.documentElement.dataset.theme = theme;
  for (const [name, value] of Object.entries(styles?.variables ?? {}))
    if (name.startsWith("--") && value) document.documentElement.style.setProperty(name, value);
}

function sayWhatIsMade({ arguments: input }) {
  if (!cards.size) say(input?.prompt ? `Making “${input.prompt}” …` : "");
}

const handlers = {
  "ui/notifications/tool-input": sayWhatIsMade,
  "ui/notifications/tool-result": receive,
  "ui/notifications/tool-cancelled": () => say("The call was canceled. A job that Luma has taken goes on."),
  "ui/notifications/host-context-changed": applyHostContext,
};

addEventListener("message", ({ source, data }) => {
  if (source !== parent || data?.jsonrpc !== "2.0") return;
  if (data.method) {
    handlers[data.method]?.(data.params ?? {});
    if (data.id !== undefined) send({ id: data.id, result: {} });  // a ping, or the end of this page
  } else if (data.error) pending.get(data.id)?.reject(new Error(data.error.message));
  else pending.get(data.id)?.resolve(data.result);
});

// ---- The server, by way of the host.

function textOf(result) {
  return (result.content ?? []).map((block) => block.text ?? "").join(" ");
}

/** What a tool answered, as the object that it is; throws what went wrong. */
function valueOf(result) {
  if (result.isError) throw new Error(textOf(result));
  if (result.structuredContent) return result.structuredContent;
  try {
    return JSON.parse(textOf(result));
  } catch {
    throw new Error(textOf(result) || "The server's answer could not be read.");
  }
}

async function call(name, input) {
  const result = await request("tools/call", { name, arguments: input });
  return result.taskId ? ofTask(result)[0] : valueOf(result);
}

// ---- What is shown: a card for each generation.

const cards = new Map();
const main = document.querySelector("main");

function nameOf(generation) {
  return generation.generation_id ?? generation.request_id;
}

/** The jobs that a task waits for, each as one to ask about. */
function ofTask({ taskId, statusMessage }) {
  const unfinished = { state: "queued", warnings: [statusMessage], next_step: "wait_for_generations" };
  return taskId.replace(/^wait:/, "").split(",").map((name) => ({ generation_id: name, ...unfinished }));
}

function receive(result) {
  try {
    const value = result.taskId ? { generations: ofTask(result) } : valueOf(result);
    const made = value.generations ?? (value.state ? [value] : []);
    say(made.length || !value.dry_run ? "" : `Price: ${priceOf(value)} Nothing was bought.`);
    made.forEach(show);
    poll();
  } catch (error) {
    say(error.message);
  }
}

function show(generation) {
  const name = nameOf(generation);
  if (!name) return;
  let card = cards.get(name);
  if (!card) {
    card = {
      stage: make("div", { class: "stage" }),
      bar: make("progress", { class: "bar", max: 1, "aria-label": "Progress" }),
      row: make("div", { class: "row" }),
      time: make("span", { class: "note" }),
      prompt: make("p", { class: "prompt" }),
      facts: make("p", { class: "facts" }),
      layers: make("ul", { class: "layers", hidden: true }),
      note: make("p", { class: "note", role: "status" }),
      ask: make("div", { class: "ask", hidden: true }),
    };
    const { stage, bar, row, prompt, facts, layers, note, ask } = card;
    main.prepend(make("article", {}, stage, bar, row, prompt, facts, layers, note, ask));
    cards.set(name, card);
  }
  update(card, generation);
}

function isUnfinished({ state, next_step }) {
  return !["completed", "failed"].includes(state) && (next_step ?? "").startsWith("wait_for_generations");
}

function update(card, generation) {
  const before = card.generation;
  card.generation = { ...generation, expected_s: generation.expected_s ?? before?.expected_s };
  card.seen = Date.now();
  card.prompt.textContent = generation.prompt ?? "";
  card.facts.textContent = facts(generation);
  const [wide, high] = (generation.aspect_ratio ?? "").split(":").map(Number);
  card.stage.style.aspectRatio = high ? `${wide} / ${high}` : generation.type === "image" ? "1 / 1" : "16 / 9";
  const done = generation.state === "completed";
  const failed = generation.state === "failed";
  const notes = [
    generation.failure_reason,
    failed && generation.charged === "no" && "Nothing was charged.",
    generation.sandbox && "Made in the sandbox: free.",
    ...(generation.warnings ?? []),
  ];
  card.note.textContent = notes.filter(Boolean).join(" ");
  card.row.replaceChildren(badge(generation.state), card.time, ...(done ? buttons(card) : []));
  tick(card);
  if (done && before?.state !== "completed") showMedia(card);
  else if (failed) card.stage.replaceChildren(make("p", {}, "Luma could not make this."));
  else if (!done) card.stage.replaceChildren(make("p", {}, "Luma is making it."));
}

/** Time goes on between two answers of the server. */
function tick(card) {
  const { generation } = card;
  const running = isUnfinished(generation);
  card.bar.hidden = card.time.hidden = !running;
  if (!running) return;
  const elapsed = Math.round((generation.elapsed_s ?? 0) + (Date.now() - card.seen) / 1000);
  const expected = generation.expected_s;
  if (expected && elapsed < expected) card.bar.value = elapsed / expected;
  else card.bar.removeAttribute("value");
  card.time.textContent = expected ? `${elapsed} s of about ${expected} s` : `${elapsed} s`;
}

setInterval(() => cards.forEach(tick), 1000);

let polling = false;

/** Ask how unfinished jobs stand, every five seconds, while somebody can see it. */
async function poll() {
  if (polling || !host.serverTools) return;
  polling = true;
  while ([...cards.values()].some((card) => isUnfinished(card.generation))) {
    await new Promise((resolve) => setTimeout(resolve, 5000));
    if (document.hidden) await new Promise((resolve) => addEventListener("visibilitychange", resolve, { once: true }));
    for (const card of cards.values()) if (isUnfinished(card.generation)) await refresh(card);
  }
  polling = false;
}

async function refresh(card) {
  try {
    update(card, await call("get_generation", { generation_id: nameOf(card.generation) }));
  } catch (error) {
    card.note.textContent = error.message;
  }
}

// ---- The picture: the link, a fresh link, the saved file, the poster.

function linkOf({ video_url, image_url }) {
  const link = video_url ?? image_url;
  return link && URL.canParse(link) && isAllowed(new URL(link)) ? link : null;
}

/** https only, but for the sandbox on this computer. */
function isAllowed({ protocol, hostname }) {
  return protocol === "https:" || (protocol === "http:" && ["127.0.0.1", "localhost"].includes(hostname));
}

function hasExpired({ url_expires_at }) {
  return url_expires_at && Date.parse(url_expires_at) < Date.now();
}

async function freshLink(card) {
  if (host.serverTools && hasExpired(card.generation)) await refresh(card);
  return linkOf(card.generation);
}

async function savedFile(card) {
  if (!host.serverResources) return null;
  try {
    const uri = `luma://generations/${card.generation.generation_id}/media`;
    const { contents } = await request("resources/read", { uri });
    const type = card.generation.type === "video" ? "video/mp4" : "image/png";  // of a picture the browser looks itself
    return contents[0]?.blob ? `data:${type};base64,${contents[0].blob}` : null;
  } catch {
    return null;
  }
}

async function showMedia(card) {
  const { type, prompt, thumbnail_url } = card.generation;
  const tag = type === "video" ? "video" : "img";
  const label = prompt ?? "What Luma made";
  const tried = new Set();
  async function attempt(as, url) {
    if (!url || tried.has(url)) return false;
    tried.add(url);
    const element = await loaded(as, url, label);
    if (element) card.stage.replaceChildren(element);
    return element;
  }
  card.stage.replaceChildren(make("p", {}, "Loading …"));
  if (card.generation.outputs) showLayers(card);
  if (await attempt(tag, await freshLink(card))) return;
  if (host.serverTools && linkOf(card.generation)) await refresh(card);  // it may have expired without saying so
  if (await attempt(tag, linkOf(card.generation))) return;
  if (await attempt(tag, await savedFile(card))) return;
  if (await attempt("img", linkOf({ image_url: thumbnail_url }))) return;
  const ways = [linkOf(card.generation) && "the link", card.generation.file_path && "the saved file"].filter(Boolean);
  const open = ways.length ? ` Open ${ways.join(" or ")}.` : "";
  card.stage.replaceChildren(make("p", {}, `This app can't show it here.${open}`));
}

async function showLayers({ generation, layers }) {
  layers.hidden = false;
  const items = generation.outputs.map(({ label, type }) =>
    make("li", {}, make("span", { class: "note" }, label ?? type)),
  );
  layers.replaceChildren(...items);
  for (const [number, output] of generation.outputs.entries()) {
    const url = output.type === "image" && linkOf({ image_url: output.url });
    const picture = url && (await loaded("img", url, output.description ?? output.label ?? ""));
    if (picture) items[number].prepend(picture);
  }
}

// ---- What one can do with it.

function buttons(card) {
  const { generation } = card;
  const button = (words, click) => make("button", { type: "button", click }, words);
  const link = linkOf(generation);
  const paid = host.serverTools && generation.operation && generation.arguments;
  // The journal keeps no path of a local file, so such a job can't be asked for again from here.
  const canRepeat = paid && !JSON.stringify(generation.arguments).includes("a local file");
  const canExtend = paid && generation.type === "video" && generation.operation !== "add_audio";
  return [
    link && host.openLinks && button("Open", async () => request("ui/open-link", { url: await freshLink(card) })),
    link && button("Download", () => download(card)),
    link && button("Copy link", (event) => copy(card, event.target)),
    canRepeat && button("Another take", () => offerTake(card)),
    canExtend && button("Extend", () => offerExtension(card)),
  ].filter(Boolean);
}

async function download(card) {
  const link = await freshLink(card);
  const name = link.split("?")[0].split("/").pop();
  const way = host.downloadFile
    ? request("ui/download-file", { contents: [{ type: "resource_link", uri: link, name }] })
    : request("ui/open-link", { url: link });
  const result = await way.catch(() => ({ isError: true }));
  const { file_path } = card.generation;
  if (result?.isError) card.note.textContent = file_path ? `It is saved at ${file_path}.` : link;
}

async function copy(card, button) {
  const link = await freshLink(card);
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = "Copied";
  } catch {  // the host does not let the page write there
    const field = make("input", { readonly: true, value: link, "aria-label": "Link" });
    card.note.replaceChildren(field);
    field.select();
  }
}

function priceOf({ estimated_cost_usd: usd, counts_usd: counts }) {
  return typeof usd === "number" ? `${dollars(usd)}.` : `not published; ${dollars(counts)} counts against your budget.`;
}

async function offerTake(card) {
  const { operation, arguments: input } = card.generation;
  const take = (input.take ?? 1) + 1;
  await offer(card, operation, { ...input, take }, "Another take:");
}

function offerExtension(card) {
  const field = make("input", { "aria-label": "What happens next", placeholder: "What happens next?" });
  ask(card, [field], "Show the price", () => {
    const input = { generation_id: card.generation.generation_id, prompt: field.value };
    return offer(card, "extend_video", input, "An extension:");
  });
  field.focus();
}

/** A question in the card; `go` is what its main button does, once. No form: hosts may forbid those. */
function ask(card, parts, words, go) {
  const click = () => {
    card.ask.replaceChildren(make("p", {}, "Just a moment …"));
    go().catch((error) => ask(card, [make("p", {}, error.message)]));
  };
  const enter = ({ key, repeat, target }) => key === "Enter" && !repeat && target.tagName === "INPUT" && click();
  const cancel = make("button", { type: "button", click: () => { card.ask.hidden = true; } }, go ? "Cancel" : "Close");
  const primary = go && make("button", { type: "button", class: "main", click }, words);
  card.ask.replaceChildren(make("div", { keydown: enter }, ...parts), make("div", { class: "row" }, primary, cancel));
  card.ask.hidden = false;
  cancel.focus();  // a held or hurried Enter must not buy
}

/** Show what a call would cost, and make it after a second click. Takes that exist are passed over. */
async function offer(card, tool, input, words) {
  card.ask.replaceChildren(make("p", {}, "Asking for the price …"));
  card.ask.hidden = false;
  try {
    let quote = await call(tool, { ...input, dry_run: true });
    for (let tries = 0; input.take && quote.generation_id && tries < 20; tries++) {
      input.take += 1;
      quote = await call(tool, { ...input, dry_run: true });
    }
    const exists = Boolean(quote.generation_id);
    const price = exists ? "you already have this one. Showing it is free." : priceOf(quote);
    const limited = typeof quote.budget_left_usd === "number" && !exists;
    const left = limited ? ` ${dollars(quote.budget_left_usd)} left in your budget.` : "";
    const refused = quote.allowed ? "" : " This is over your budget or price limit.";
    const free = quote.sandbox && !exists ? " In the sandbox nothing is charged." : "";
    const offered = exists ? "Show it" : `Buy for ${dollars(quote.estimated_cost_usd ?? quote.counts_usd)}`;
    const go = quote.allowed ? () => buy(card, tool, input) : null;
    ask(card, [make("p", {}, `${words} ${price}${left}${free}${refused}`)], offered, go);
  } catch (error) {
    ask(card, [make("p", {}, error.message)]);
  }
}

async function buy(card, tool, input) {
  let made;
  try {
    made = await call(tool, { ...input, wait_s: 0 });
  } catch (error) {
    throw new Error(`${error.message} Before you buy it again, ask the assistant to list your generations.`);
  }
  card.ask.hidden = true;
  show(made);
  poll();
  const words = `In the player the user called ${tool}: ${JSON.stringify(made)}`;
  if (host.updateModelContext)
    await request("ui/update-model-context", { content: [{ type: "text", text: words }] }).catch(() => {});
}

// ---- The beginning. The host may send a result at any time after it.

request("ui/initialize", {
  protocolVersion: "2026-01-26",
  appInfo: { name: "luma-player", version: "1" },
  appCapabilities: { availableDisplayModes: ["inline"] },
}).then(({ hostCapabilities, hostContext }) => {
  host = hostCapabilities ?? {};
  applyHostContext(hostContext ?? {});
  send({ method: "ui/notifications/initialized" });
  new ResizeObserver(([{ target }]) => {
    const params = { width: target.scrollWidth, height: target.scrollHeight };
    send({ method: "ui/notifications/size-changed", params });
  }).observe(document.body);
  poll();
});
