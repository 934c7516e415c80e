// A model as anywidget gives it to `render`, with a host in the page.
import { vi } from "vitest";

export function mount(module, values) {
  const listeners = {};
  const model = {
    get: (name) => values[name],
    set(changes) {
      Object.assign(values, changes);
      for (const name of Object.keys(changes)) listeners[`change:${name}`]?.forEach((f) => f());
    },
    on: (name, f) => (listeners[name] ??= []).push(f),
    off: (name, f) => {
      listeners[name] = (listeners[name] ?? []).filter((g) => g !== f);
    },
    send: vi.fn(),
    hearing: (name) => listeners[name]?.forEach((f) => f()),
    hear: (content) => listeners["msg:custom"]?.forEach((f) => f(content)),
    listeners: () => Object.values(listeners).flat().length,
  };
  const host = document.createElement("div");
  document.body.replaceChildren(host);
  const end = module.default.render({ model, el: host });
  const all = (selector) => [...host.querySelectorAll(selector)];
  return { model, host, end, all, one: (selector) => host.querySelector(selector) };
}

// What a microtask was put off for has been done.
export const settled = () => new Promise((done) => queueMicrotask(done));

export function press(node, key, more = {}) {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  node.dispatchEvent(event);
  return event;
}
