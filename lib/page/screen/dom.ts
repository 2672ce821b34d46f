/** Elements without a framework: made, filled and changed by a few functions, never from text that is parsed as HTML. */

type Child = Node | string | null | undefined;
type Handlers = { [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void };

/** What an element gets: attributes by name, its class, its text, and handlers under `on`. */
interface Parts {
  readonly class?: string;
  readonly text?: string;
  readonly on?: Handlers;
  readonly [attribute: string]: unknown;
}

/** An element with these parts and children. Attributes of false or undefined are left out. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  parts: Parts = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(parts)) {
    if (value === undefined || value === false) continue;
    if (name === "class") element.className = String(value);
    else if (name === "text") element.textContent = String(value);
    else if (name === "on") listen(element, value as Handlers);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function listen(element: HTMLElement, handlers: Handlers): void {
  for (const [name, handler] of Object.entries(handlers)) element.addEventListener(name, handler as EventListener);
}

/** Sets a text only if it is another one: what did not change is not laid out again, nor read out. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute only if it is another one; null takes it away. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** Makes the options of a list those of `values`, and keeps the choice if it is still among them. */
export function setOptions(select: HTMLSelectElement, values: readonly (readonly [value: string, text: string])[]): void {
  const key = JSON.stringify(values);
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  const chosen = select.value;
  select.replaceChildren(...values.map(([value, text]) => make("option", { value, text })));
  if (values.some(([value]) => value === chosen)) select.value = chosen;
}

/** A part of the page with a heading. `aside` stands at the right of it. */
export function panel(id: string, title: string, help: string, ...children: Child[]): { section: HTMLElement; aside: HTMLElement } {
  const aside = make("div", { class: "aside" });
  const heading = make("h2", { id: `${id}-title`, text: title });
  const head = make("header", { class: "head" }, heading, make("p", { class: "help", text: help }), aside);
  return { section: make("section", { id, class: "panel", "aria-labelledby": `${id}-title` }, head, ...children), aside };
}

/** A choice of one among few, as buttons that say which one is pressed. */
export function choice<Value extends string | number>(
  label: string,
  values: readonly (readonly [value: Value, text: string])[],
  choose: (value: Value) => void,
): { group: HTMLElement; show: (value: Value) => void } {
  const buttons = values.map(([value, text]) =>
    [value, make("button", { type: "button", text, on: { click: () => choose(value) } })] as const
  );
  const group = make("div", { class: "choice", role: "group", "aria-label": label }, ...buttons.map(([, button]) => button));
  const show = (chosen: Value) => {
    for (const [value, button] of buttons) setAttribute(button, "aria-pressed", String(value === chosen));
  };
  return { group, show };
}

/** A label and its field. */
export function field(text: string, input: HTMLElement): HTMLElement {
  return make("label", { class: "field" }, make("span", { text }), input);
}
