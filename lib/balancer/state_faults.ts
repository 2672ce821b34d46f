/**
 * What is wrong with a state that was read from a file. Two kinds are told apart: a state that this program cannot have made is
 * broken, and one with fields, settings or values that it does not know is of a newer version. Pure.
 */

import { formatAddress, parseAddress } from "../values/address.ts";
import { isDaemonSetting, LIMITS, parseDaemonConfig, parseServiceConfig, type SettingTexts } from "../values/config.ts";
import { messageOf } from "../values/errors.ts";
import { addressesOf, formatListener, overlap, parseListenerText } from "../values/listener_text.ts";
import { parseName } from "../values/paths.ts";
import { ALWAYS_SAVED, type SavedListener, type SavedServer, type SavedService, type SavedState } from "../values/saved_state.ts";
import { faultOfSettings, SERVER_SETTINGS, type ServerSettingName } from "../values/server_settings.ts";
import { type Fault, isRecord } from "./sealed_file.ts";

/** The fields that this version knows; any other is of a newer one. */
const FIELDS = {
  state: { generation: true, services: true, daemon: true, declaredIn: true } satisfies FieldsOf<SavedState>,
  declaredIn: { path: true, generation: true } satisfies FieldsOf<NonNullable<SavedState["declaredIn"]>>,
  service: { name: true, listeners: true, settings: true, servers: true } satisfies FieldsOf<SavedService>,
  listener: { address: true, port: true, lastPort: true } satisfies FieldsOf<SavedListener>,
  server: { server: true, draining: true, ...SERVER_SETTINGS } satisfies Record<keyof SavedServer, unknown>,
};

type FieldsOf<T> = Record<keyof T, true>;

/** How many characters of an invalid value a warning shows. */
const SHOWN_MAX = 80;

/** What is wrong with a state, or with what a newer version has added; undefined for nothing. */
export function faultOfState(state: unknown): Fault | undefined {
  if (!isRecord(state)) return { why: "its state is not an object" };
  const { generation, services, daemon, declaredIn } = state;
  const stranger = strangerIn(state, FIELDS.state);
  if (stranger !== undefined) return newer(`it has the field ${stranger}`);
  if (!isGeneration(generation)) return { why: `its generation ${shortened(generation)} is not a whole number from 0` };
  return faultOfDeclaration(declaredIn) ?? faultOfDaemon(daemon) ?? faultOfServices(services);
}

/** What is wrong with the servers of one pool: what `add` and `set` would refuse. `isStrict`: unknown fields are, too. */
export function faultOfServers(servers: unknown, isStrict: boolean): Fault | undefined {
  if (!Array.isArray(servers)) return { why: "it is not a list" };
  if (servers.length > LIMITS.serversMax) return tooMany(servers.length, "servers", LIMITS.serversMax);
  const fault = firstFault(servers, (server) => faultOfServer(server, isStrict), (index) => `server number ${index + 1} `);
  return fault ?? faultOfPool(servers);
}

/** Whether every saved server has this setting. */
export function isAlwaysSaved(name: ServerSettingName): boolean {
  return (ALWAYS_SAVED as readonly ServerSettingName[]).includes(name);
}

/** Whether a value is the number of a generation. */
export function isGeneration(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function faultOfDeclaration(declaredIn: unknown): Fault | undefined {
  if (declaredIn === undefined) return undefined;
  const broken = { why: `its declaration ${shortened(declaredIn)} is not a path and a generation` };
  if (!isRecord(declaredIn)) return broken;
  const stranger = strangerIn(declaredIn, FIELDS.declaredIn);
  if (stranger !== undefined) return newer(`its declaration has the field ${stranger}`);
  return typeof declaredIn.path === "string" && isGeneration(declaredIn.generation) ? undefined : broken;
}

function faultOfDaemon(settings: unknown): Fault | undefined {
  if (settings === undefined) return undefined;
  if (!isRecord(settings)) return { why: "its settings of the daemon are not an object" };
  const clause = clauseOfSettings(settings, true, parseDaemonConfig);
  return clause === undefined ? undefined : newer(`its daemon ${clause}`);
}

function faultOfServices(services: unknown): Fault | undefined {
  if (!Array.isArray(services)) return { why: "its services are not a list" };
  const settingsFaults = new Map<string, string | undefined>();
  return firstFault(services, (service) => faultOfService(service, settingsFaults), (index) => `service number ${index + 1} `) ??
    faultOfAll(services);
}

/** `settingsFaults`: by settings as text, because most services have the same and parsing them is the most of the time. */
function faultOfService(value: unknown, settingsFaults: Map<string, string | undefined>): Fault | undefined {
  if (!isRecord(value)) return { why: "is not an object" };
  const { name, listeners, settings, servers } = value;
  if (!isName(name)) return { why: `has the name ${shortened(name)}, which is not the name of a service` };
  const called = `(${name}) `;
  const stranger = strangerIn(value, FIELDS.service);
  if (stranger !== undefined) return newer(`${called}has the field ${stranger}`);
  return within(called, faultOfServiceSettings(settings, settingsFaults)) ?? within(called, faultOfListeners(listeners)) ??
    within(`${called}has servers that are not valid: `, faultOfServers(servers, true));
}

function faultOfServiceSettings(settings: unknown, faults: Map<string, string | undefined>): Fault | undefined {
  if (!isRecord(settings)) return { why: "has settings that are not an object" };
  const key = JSON.stringify(settings);
  if (!faults.has(key)) faults.set(key, clauseOfSettings(settings, false, parseServiceConfig));
  const clause = faults.get(key);
  return clause === undefined ? undefined : newer(clause);
}

/** What is wrong with settings of the daemon, or of a service. */
function clauseOfSettings(
  settings: Readonly<Record<string, unknown>>,
  isDaemons: boolean,
  parse: (texts: SettingTexts) => unknown,
): string | undefined {
  for (const [flag, text] of Object.entries(settings)) {
    if (isDaemonSetting(flag) !== isDaemons) return `has the setting ${JSON.stringify(flag)}`;
    if (typeof text !== "string") return `has the setting ${JSON.stringify(flag)} with the value ${shortened(text)}`;
  }
  try {
    parse(settings as SettingTexts);
  } catch (error) {
    return `has settings that do not fit (${messageOf(error)})`;
  }
}

function faultOfListeners(listeners: unknown): Fault | undefined {
  if (!Array.isArray(listeners)) return { why: "has listeners that are not a list" };
  const fault = firstFault(listeners, faultOfListener, () => "");
  if (fault !== undefined) return fault;
  if (countPorts(listeners) > LIMITS.listenersMax) return undefined; // said of all services
  const twice = listeners.find((one, index) => listeners.slice(0, index).some((other) => overlap(one, other)));
  return twice && { why: `listens on ${formatListener(twice)} more than once` };
}

function faultOfListener(value: unknown): Fault | undefined {
  const broken = { why: `has the listener ${shortened(value)}, which is not an address and a port as the daemon writes it` };
  if (!isRecord(value)) return broken;
  const stranger = strangerIn(value, FIELDS.listener);
  if (stranger !== undefined) return newer(`has a listener with the field ${stranger}`);
  const { address, port, lastPort } = value;
  if (typeof address !== "string" || typeof port !== "number" || typeof (lastPort ?? 0) !== "number") return broken;
  const listener = value as unknown as SavedListener;
  try {
    const parsed = parseListenerText(formatListener(listener));
    return parsed.address === address && parsed.port === port && parsed.lastPort === lastPort ? undefined : broken;
  } catch {
    return broken;
  }
}

/** What is wrong with services that are right by themselves. */
function faultOfAll(services: readonly SavedService[]): Fault | undefined {
  const counts: [count: number, what: string, max: number][] = [
    [services.length, "services", LIMITS.servicesMax],
    [services.reduce((sum, { listeners }) => sum + countPorts(listeners), 0), "listeners", LIMITS.listenersMax],
    [services.reduce((sum, { servers }) => sum + servers.length, 0), "servers", LIMITS.serversMax],
  ];
  const above = counts.find(([count, , max]) => count > max);
  if (above !== undefined) return tooMany(...above);
  const twice = firstTwice(services.map(({ name }) => name));
  return twice === undefined ? undefined : { why: `service ${JSON.stringify(twice)} is in it more than once` };
}

function faultOfPool(servers: readonly SavedServer[]): Fault | undefined {
  const twice = firstTwice(servers.map(({ server }) => server));
  if (twice !== undefined) return { why: `server ${JSON.stringify(twice)} is in it more than once` };
  const weightTotal = servers.reduce((sum, { weight }) => sum + weight, 0);
  if (weightTotal <= LIMITS.weightTotalMax) return undefined;
  return { why: `its weights add up to ${weightTotal}, and the limit is ${LIMITS.weightTotalMax}` };
}

function faultOfServer(value: unknown, isStrict: boolean): Fault | undefined {
  if (!isRecord(value)) return { why: "is not an object" };
  const { server, draining } = value;
  const stranger = isStrict ? strangerIn(value, FIELDS.server) : undefined;
  if (stranger !== undefined) return newer(`has the field ${stranger}`);
  if (!isCanonical(server)) {
    return { why: `has the name ${shortened(server)}, which is not an address:port as the daemon writes it` };
  }
  const wrong = faultOfSettings(value, isAlwaysSaved);
  if (wrong !== undefined) {
    const why = `has the ${wrong.what} ${shortened(wrong.value)}, which is ${wrong.fault}`;
    return { why, isNewer: isStrict && wrong.value !== undefined };
  }
  if (draining !== undefined && typeof draining !== "boolean") {
    return { why: `has ${shortened(draining)} for draining, which is neither true nor false` };
  }
}

/** The first fault of a list, with the place before it. */
function firstFault(
  values: readonly unknown[],
  faultOf: (value: unknown) => Fault | undefined,
  place: (index: number) => string,
): Fault | undefined {
  for (const [index, value] of values.entries()) {
    const fault = faultOf(value);
    if (fault !== undefined) return within(place(index), fault);
  }
}

function within(place: string, fault: Fault | undefined): Fault | undefined {
  return fault && { ...fault, why: place + fault.why };
}

function newer(why: string): Fault {
  return { why: `${why}, which this program does not know`, isNewer: true };
}

function tooMany(count: number, what: string, max: number): Fault {
  return { why: `it has ${count} ${what}, and the limit is ${max}` };
}

/** The first unknown field, quoted. */
function strangerIn(value: Readonly<Record<string, unknown>>, known: Readonly<Record<string, unknown>>): string | undefined {
  const stranger = Object.keys(value).find((key) => !Object.hasOwn(known, key));
  return stranger === undefined ? undefined : shortened(stranger);
}

function firstTwice(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => seen.size === seen.add(name).size);
}

function countPorts(listeners: readonly SavedListener[]): number {
  return listeners.reduce((sum, listener) => sum + addressesOf(listener).length, 0);
}

function isName(name: unknown): boolean {
  try {
    return typeof name === "string" && parseName(name) === name;
  } catch {
    return false;
  }
}

function isCanonical(name: unknown): boolean {
  try {
    return typeof name === "string" && formatAddress(parseAddress(name)) === name;
  } catch {
    return false;
  }
}

/** A value as text, shortened for a sentence. */
function shortened(value: unknown): string {
  const text = JSON.stringify(value) ?? "none";
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
