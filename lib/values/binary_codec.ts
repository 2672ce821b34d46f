/**
 * Values as bytes and back: small codecs that are put together. Numbers are little-endian. Whoever reads trusts nothing: every
 * length has a limit, and bytes that end early or say what they may not are a `CodecError`. Versions are the caller's.
 */

/** The bytes are no value of this codec. */
export class CodecError extends Error {
  override readonly name = "CodecError";
}

/** A way to write a value, and to read it again. */
export interface Codec<T> {
  write(writer: ByteWriter, value: T): void;
  read(reader: ByteReader): T;
}

/** The values of a codec. */
export type ValueOf<C> = C extends Codec<infer T> ? T : never;

/** The size at first. It doubles as often as needed. */
const FIRST_BYTES = 4096;

/** Bytes that are written one after another, in memory that is used again. */
export class ByteWriter {
  #bytes = new Uint8Array(new ArrayBuffer(FIRST_BYTES));
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** How many there are. */
  get length(): number {
    return this.#length;
  }

  /** All of them, valid until more are written. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets those from `length` on. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** A view and the place for `size` more bytes. */
  grow(size: number): { readonly view: DataView<ArrayBuffer>; readonly at: number } {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) this.#enlarge();
    return { view: this.#view, at };
  }

  put(bytes: Uint8Array): void {
    const { at } = this.grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** Writes a number of 32 bits over an earlier one. */
  patch32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  #enlarge(): void {
    const larger = new Uint8Array(new ArrayBuffer(2 ** Math.ceil(Math.log2(this.#length))));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Bytes that are read one after another. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Whether all were read. */
  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** The place of the next `size` bytes in `view`. */
  take(size: number): number {
    const at = this.#at;
    if (at + size > this.#bytes.length) throw new CodecError("the bytes end early");
    this.#at += size;
    return at;
  }

  /** A copy of the next `size` bytes. */
  copy(size: number): Uint8Array<ArrayBuffer> {
    const at = this.take(size);
    return Uint8Array.from(this.#bytes.subarray(at, at + size));
  }
}

/** Whole numbers from 0 to 255. */
export const u8: Codec<number> = {
  write(writer, value) {
    const { view, at } = writer.grow(1);
    view.setUint8(at, value);
  },
  read: (reader) => reader.view.getUint8(reader.take(1)),
};

/** Whole numbers of 32 bits with a sign: words as they are in memory. */
export const i32: Codec<number> = {
  write(writer, value) {
    const { view, at } = writer.grow(4);
    view.setInt32(at, value, true);
  },
  read: (reader) => reader.view.getInt32(reader.take(4), true),
};

/** Any number. */
export const f64: Codec<number> = {
  write(writer, value) {
    const { view, at } = writer.grow(8);
    view.setFloat64(at, value, true);
  },
  read: (reader) => reader.view.getFloat64(reader.take(8), true),
};

/** Yes or no. */
export const flag: Codec<boolean> = {
  write: (writer, value) => u8.write(writer, value ? 1 : 0),
  read(reader) {
    const value = u8.read(reader);
    if (value > 1) throw new CodecError(`${value} is neither yes nor no`);
    return value === 1;
  },
};

/** At most `max` bytes. */
export function bytes(max: number): Codec<Uint8Array<ArrayBuffer>> {
  return {
    write(writer, value) {
      if (value.length > max) throw new CodecError(`${value.length} bytes are more than ${max}`);
      i32.write(writer, value.length);
      writer.put(value);
    },
    read: (reader) => reader.copy(lengthIn(reader, max)),
  };
}

/** At most `max` values. */
export function list<T>(codec: Codec<T>, max: number): Codec<readonly T[]> {
  return {
    write(writer, values) {
      if (values.length > max) throw new CodecError(`${values.length} values are more than ${max}`);
      i32.write(writer, values.length);
      for (const value of values) codec.write(writer, value);
    },
    read: (reader) => Array.from({ length: lengthIn(reader, max) }, () => codec.read(reader)),
  };
}

/** A value, or undefined. */
export function optional<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    write(writer, value) {
      flag.write(writer, value !== undefined);
      if (value !== undefined) codec.write(writer, value);
    },
    read: (reader) => flag.read(reader) ? codec.read(reader) : undefined,
  };
}

/** One of these values, of which there are at most 256; their order is part of the format. */
export function oneOf<T>(values: readonly T[]): Codec<T> {
  return {
    write: (writer, value) => u8.write(writer, values.indexOf(value)),
    read(reader) {
      const index = u8.read(reader);
      if (index >= values.length) throw new CodecError(`there is no value ${index}`);
      return values[index];
    },
  };
}

/** An object with these fields; their order is part of the format. */
export function record<T extends object>(fields: { readonly [Name in keyof T]: Codec<T[Name]> }): Codec<Readonly<T>> {
  const entries = Object.entries(fields) as [string, Codec<unknown>][];
  return {
    write(writer, value) {
      for (const [name, codec] of entries) codec.write(writer, (value as Record<string, unknown>)[name]);
    },
    read(reader) {
      const value: Record<string, unknown> = {};
      for (const [name, codec] of entries) value[name] = codec.read(reader);
      return value as T;
    },
  };
}

function lengthIn(reader: ByteReader, max: number): number {
  const length = i32.read(reader);
  if (length < 0 || length > max) throw new CodecError(`a length of ${length} is not in 0 to ${max}`);
  return length;
}
