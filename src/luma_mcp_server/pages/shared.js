"use strict";

/** An element. Children that are text stay text: nothing that Luma or a model wrote is read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An amount in words, as everywhere else: $2.87, $0.06, $0.0464. */
function dollars(usd) {
  const [cents, finer] = [usd.toFixed(2), usd.toFixed(4)];
  return `$${usd >= 0.1 || finer === `${cents}00` ? cents : finer}`;
}

/** What stands below a prompt: model, size, length, take, price. */
function facts(generation) {
  const { model, aspect_ratio, resolution, duration, estimated_cost_usd: usd, arguments: given } = generation;
  const take = given?.take > 1 && `take ${given.take}`;
  const price = typeof usd === "number" && dollars(usd);
  return [model, aspect_ratio, resolution, duration, take, price].filter(Boolean).join(" · ");
}

function badge(state) {
  return make("span", { class: "badge", "data-state": state }, state);
}

/** A video or image of some address, once this browser has loaded it; null if it can't, or must not. */
function loaded(tag, url, label) {
  return new Promise((resolve) => {
    const attributes = tag === "video" ? { controls: true, playsinline: true, loop: true, preload: "metadata" } : {};
    const element = make(tag, { ...attributes, [tag === "video" ? "aria-label" : "alt"]: label });
    element.addEventListener(tag === "video" ? "loadeddata" : "load", () => resolve(element), { once: true });
    element.addEventListener("error", () => resolve(null), { once: true });
    setTimeout(() => resolve(null), 30_000); // a link that neither answers nor fails
    element.src = url;
  });
}
