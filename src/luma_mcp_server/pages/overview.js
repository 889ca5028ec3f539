// Totals, spending, what runs now

function totals({ spent_24h_usd: spent, budget_usd: budget, spent_total_usd: total }) {
  const pair = (name, ...value) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value));
  const ofBudget = [];
  if (budget !== null) {
    const most = budget || 1; // nothing is a share of nothing
    const share = { class: "bar", max: most, value: Math.min(spent, most), "aria-label": "Share of budget spent" };
    ofBudget.push(make("small", {}, ` of ${dollars(budget)}`), make("progress", share));
  }
  byId("totals").replaceChildren(
    pair("Generations", everything.toLocaleString()),
    pair("Spent in 24 hours", dollars(spent), ...ofBudget),
    pair("Total spent", dollars(total)),
  );
}

/** A line across the chart, at so many percent of its height. */
function chartLine(name, percent, words = "") {
  const line = make("div", { class: name }, words);
  line.style.bottom = `${percent}%`;
  return line;
}

/** One day's column: a part for each model, as high as `percent` says; a button if anything was spent. */
function dayColumn(day, parts, total, percent) {
  const models = parts.map(({ model, usd }) => `${model} ${dollars(usd)}`).join(", ");
  const words = `${named(day)}: ${dollars(total)}${models && ` (${models})`}`;
  if (!parts.length) return make("span", { class: "day", title: words });
  const field = filters.elements.day;
  const choose = () => {
    field.value = field.value === day ? "" : day;
    filtersChanged();
  };
  const column = make("button", {
    type: "button",
    class: "day",
    "data-day": day,
    title: words,
    "aria-label": `${words}. Show this day`,
    "aria-pressed": String(field.value === day),
    click: choose,
  });
  for (const { hue, usd } of parts) {
    const part = make("span", { class: hue });
    part.style.height = `${percent(usd)}%`;
    column.append(part);
  }
  return column;
}

function spending({ days, spending: spent, budget_usd: budget }) {
  const sums = (key) => {
    const found = new Map();
    for (const one of spent) found.set(one[key], (found.get(one[key]) || 0) + one.usd);
    return found;
  };
  const [byDay, byModel] = [sums("day"), sums("model")];
  const models = [...byModel.keys()].sort((one, other) => byModel.get(other) - byModel.get(one));
  const hues = new Map(models.map((model, number) => [model, `hue${Math.min(number, 6)}`]));
  const parts = spent
    .map((one) => ({ ...one, hue: hues.get(one.model) }))
    .sort((one, other) => models.indexOf(one.model) - models.indexOf(other.model));
  const most = Math.max(...byDay.values(), 0);
  const showsBudget = budget !== null && budget > 0 && budget <= 4 * most;
  const top = Math.max(most, showsBudget ? budget : 0) * 1.18; // with room for a label
  const percent = (usd) => (100 * usd) / top;

  const plot = make("div", { class: "plot" });
  for (const day of days) {
    plot.append(dayColumn(day, parts.filter((one) => one.day === day), byDay.get(day) || 0, percent));
  }
  if (showsBudget) plot.append(chartLine("limit", percent(budget)));
  else if (most > 0) plot.append(chartLine("most", percent(most), dollars(most)));

  const legend = models.map((model) => make("li", { class: hues.get(model) }, model));
  if (budget !== null) {
    const where = showsBudget ? "" : ", above this chart";
    legend.push(make("li", { class: "limit" }, `budget ${dollars(budget)} in any 24 hours${where}`));
  }
  const heading = make("h2", {}, `Spending, last ${days.length} days`);
  const marked = [days[0], days[Math.floor(days.length / 2)], days.at(-1)];
  byId("spending").replaceChildren(
    make("figcaption", {}, heading, make("ul", { class: "legend" }, legend)),
    plot,
    make("p", { class: "days" }, marked.map((day) => make("span", {}, named(day)))),
  );
}

function running(generations) {
  byId("running").hidden = !generations.length;
  byId("running").querySelector("ul").replaceChildren(...generations.map(runningItem));
}

function runningItem(generation) {
  const { elapsed_s: elapsed, expected_s: expected } = generation;
  const bar = { class: "bar" };
  let words = seconds(elapsed);
  if (expected !== null) {
    words += elapsed > expected ? ", longer than usual" : ` of about ${seconds(expected)}`;
    Object.assign(bar, { max: expected, value: Math.min(elapsed, expected) });
  }
  return make(
    "li",
    {},
    make("span", { class: "line" }, title(generation)),
    make("progress", { ...bar, "aria-label": `${title(generation)}: ${words}` }),
    make("span", { class: "between facts" }, badge(generation.state), words),
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
