/** What the ClientHellos of open connections asked for, as workers reported it: kept on the main thread for the access log. */

import type { LoggedHello } from "../../observe/connections.ts";
import { describeHello } from "../../observe/received_hello.ts";
import type { TextReport } from "./reports.ts";

/** Hellos of which it is remembered how they are shown. */
const DESCRIBED_MAX = 256;

/** The hellos by the id of their connection: TLVs, a character for each byte. As text they take the least memory. */
export class ReceivedHellos {
  readonly #hellos = new Map<number, string>();
  /** By the TLVs: most clients ask for what others have asked for. */
  readonly #described = new Map<string, LoggedHello>();

  /** With more hellos than `max`, the oldest is forgotten: the report of its connection's end was dropped. */
  constructor(readonly max: number) {}

  /** Adds a part of a hello. */
  add({ id, text }: TextReport): void {
    this.#hellos.set(id, (this.#hellos.get(id) ?? "") + text);
    if (this.#hellos.size > this.max) this.#hellos.delete(this.#hellos.keys().next().value!);
  }

  /** What the hello of an open connection asked for; undefined if none was read. */
  get(id: number): LoggedHello | undefined {
    const text = this.#hellos.size === 0 ? undefined : this.#hellos.get(id);
    return text === undefined ? undefined : this.#describe(text);
  }

  /** The same of a connection that has ended, which is then forgotten. */
  take(id: number): LoggedHello | undefined {
    const hello = this.get(id);
    if (hello !== undefined) this.#hellos.delete(id);
    return hello;
  }

  #describe(text: string): LoggedHello {
    const known = this.#described.get(text);
    if (known !== undefined) return known;
    const hello = describeHello(Uint8Array.from(text, (character) => character.charCodeAt(0)));
    if (this.#described.size >= DESCRIBED_MAX) this.#described.clear();
    this.#described.set(text, hello);
    return hello;
  }
}
