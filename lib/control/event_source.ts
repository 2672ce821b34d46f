/**
 * Reads server-sent events (WHATWG HTML, section 9.2.6) from text as it arrives, as far as our own daemon writes them: no retry
 * times, no byte order mark. Pure.
 */

/** A message. One without data only says the id to go on after. */
export interface ServerSentEvent {
  /** The last id that was said; empty: none was. */
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** The longest message, in characters: many times an event. */
const MESSAGE_MAX = 64 * 1024;

/** A stream. */
export class EventReader {
  #rest = "";
  #id = "";
  #event = "";
  #data: string[] = [];

  /** Takes the next piece of text. Returns the messages that are whole now. Throws an error for one that is too long. */
  push(text: string): ServerSentEvent[] {
    const lines = (this.#rest + text).split(/\r\n|\n/);
    this.#rest = lines.pop()!;
    if (this.#rest.length > MESSAGE_MAX) throw new Error("the stream of events has a line that is too long");
    return lines.flatMap((line) => this.#take(line) ?? []);
  }

  #take(line: string): ServerSentEvent | undefined {
    if (line === "") return this.#end();
    const [, field, value] = line.match(/^([^:]*):? ?(.*)$/s)!;
    if (field === "id") this.#id = value;
    else if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
  }

  #end(): ServerSentEvent {
    const message = { id: this.#id, event: this.#event, data: this.#data.join("\n") };
    this.#event = "";
    this.#data = [];
    return message;
  }
}
