/**
 * What if: a change is chosen, the API's plan is shown as it is typed, and the command that would make it. Where the page may
 * change the pool, the change can be made once its plan is there; elsewhere there is nothing of that in the document.
 */

import type { Plan, Server } from "../model/contract.ts";
import type { View } from "../model/desk.ts";
import { formatPercent } from "../model/format.ts";
import type { RingPicture } from "../model/ring_places.ts";
import {
  type Change,
  CHANGES,
  commandOf,
  connectionFigures,
  faultOf,
  type Figure,
  figuresOf,
  putBackFigures,
  queryOf,
  type Question,
  takersOf,
} from "../model/what_if.ts";
import { actBar } from "./act_bar.ts";
import { field, make, panel, setOptions, setText } from "./dom.ts";
import type { Host, Panel } from "./panel.ts";

/** Who types is given this long before the API is asked. */
const PAUSE_MS = 250;
/** A plan that is shown is asked again: the load goes on. */
const AGAIN_MS = 5000;
const TAKERS_SHOWN = 8;

/** Makes it. */
export function whatIfPanel(host: Host): Panel {
  const changed = () => {
    show();
    later();
    host.redraw();
  };
  const on = { change: changed, input: changed };
  const change = make("select", { on }, make("option", { value: "", text: "choose…" }));
  for (const [name, { word, plans }] of Object.entries(CHANGES)) {
    if (plans !== null) change.append(make("option", { value: name, text: word }));
  }
  const putBack = make("option", { value: "undrain", text: CHANGES.undrain.word });
  const server = make("select", { on });
  const added = make("input", { type: "text", placeholder: "10.0.0.9:80", autocomplete: "off", on });
  const weight = make("input", { type: "number", min: 1, max: 1000, value: 1, on });
  const [serverField, addedField, weightField] = [
    field("server", server),
    field("address and port", added),
    field("weight", weight),
  ];
  const says = make("p", { class: "answer", role: "status" });
  const result = make("div", { class: "plan" });
  const command = make("code");
  const copy = make("button", { type: "button", text: "Copy", on: { click: () => copyText(command.textContent ?? "", copy) } });
  const commandLine = make("p", { class: "command" }, command, copy);
  const form = make(
    "form",
    { class: "fields", on: { submit: (event) => event.preventDefault() } },
    field("If I", change),
    serverField,
    addedField,
    weightField,
  );
  const { section } = panel("what-if", "What if", "the plan, with nothing done", form, says, result, commandLine);
  const act = actBar(host, () => later());
  /** Shows what would act only where it may. */
  const allow = (writes: boolean) => {
    if (writes === section.contains(act.element)) return;
    if (writes) {
      change.append(putBack);
      section.append(act.element);
    } else {
      putBack.remove();
      act.element.remove();
    }
  };

  const question = (): Question | undefined => {
    if (change.value === "") return undefined;
    const name = change.value as Change;
    return { change: name, server: CHANGES[name].isNew ? added.value : server.value, weight: weight.value };
  };
  const show = () => {
    const name = change.value as Change | "";
    serverField.hidden = name === "" || CHANGES[name].isNew;
    addedField.hidden = name === "" || !CHANGES[name].isNew;
    weightField.hidden = name === "" || !CHANGES[name].hasWeight;
  };
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(foresee, PAUSE_MS);
  };
  let asked = 0;
  let servers: readonly Server[] = [];
  /** The change whose plan is shown. */
  let planned: Question | undefined;
  const foresee = async () => {
    clearTimeout(timer);
    const number = ++asked;
    const what = question();
    const fault = what === undefined ? "" : faultOf(what);
    if (what === undefined || fault !== undefined) return forget(fault ?? "");
    const query = queryOf(what, host.desk.service!);
    if (query === undefined) return foreseePutBack(what);
    try {
      const [plan, ring] = await Promise.all([
        host.ask<Plan>("/v1/plan", query),
        host.ask<RingPicture>("/v1/ring", query).catch(() => null), // the figures are worth showing without the picture
      ]);
      if (number !== asked) return;
      host.desk.foresight = { question: what, plan, ring };
      planned = what;
      setText(says, "");
      drawPlan(result, plan, what.change);
    } catch (error) {
      if (number === asked) forget((error as Error).message);
      return;
    }
    timer = setTimeout(foresee, AGAIN_MS);
    host.redraw();
  };
  const foreseePutBack = (what: Question) => {
    const server = servers.find((one) => one.server === what.server);
    forget(server === undefined ? `${what.server} is no longer in the pool` : "");
    if (server === undefined) return;
    planned = what;
    result.replaceChildren(list(putBackFigures(server), "figures"));
  };
  const forget = (why: string) => {
    host.desk.foresight = null;
    planned = undefined;
    setText(says, why);
    result.replaceChildren();
    host.redraw();
  };
  show();
  let service = "";
  return {
    element: section,
    draw: ({ servers: all, status, services, service: shown, writes }: View) => {
      servers = all;
      allow(writes);
      const isMeant = ({ state }: Server) => change.value === "undrain" ? state === "draining" : state !== "removing";
      setOptions(server, servers.filter(isMeant).map(({ server }) => [server, server]));
      if (service !== "" && service !== shown.service) {
        planned = undefined; // it was of another pool
        void foresee();
      }
      service = shown.service;
      const what = question();
      act.offer(what !== undefined && isSame(what, planned) ? planned : undefined);
      const isTypable = what !== undefined && faultOf(what) === undefined;
      commandLine.hidden = !isTypable;
      if (!isTypable) return;
      setText(command, commandOf(what, { name: status.name, service, hasSeveralServices: services.length > 1 }));
    },
  };
}

function drawPlan(place: HTMLElement, plan: Plan, change: Change): void {
  const takers = takersOf(plan, TAKERS_SHOWN);
  const most = takers[0]?.share ?? 1;
  const moves = takers.map(({ text, share }) => {
    const bar = make("i", { class: "flow-bar" });
    bar.style.width = `${(100 * share / most).toFixed(1)}%`;
    return make("li", {}, make("span", { class: "flow-text", text }), bar, make("b", { text: formatPercent(share) }));
  });
  const more = plan.flows.length - takers.length;
  place.replaceChildren(
    list(figuresOf(plan), "figures"),
    list(connectionFigures(plan, change), "outcomes"),
    make("ul", { class: "takers", "aria-label": "Clients that get another server" }, ...moves),
    ...(more > 0 ? [make("p", { class: "none", text: `and ${more} smaller moves` })] : []),
  );
}

function list(figures: readonly Figure[], className: string): HTMLElement {
  return make(
    "dl",
    { class: className },
    ...figures.map(({ label, value }) => make("div", {}, make("dt", { text: label }), make("dd", { text: value }))),
  );
}

function isSame(one: Question, other: Question | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Browsers allow it on https and on loopback only. */
async function copyText(text: string, button: HTMLButtonElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    setText(button, "Copied");
  } catch {
    setText(button, "Select and copy it");
  }
  setTimeout(() => setText(button, "Copy"), 2000);
}
