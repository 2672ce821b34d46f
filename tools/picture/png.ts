/**
 * Makes a PNG of a page smaller, and changes no pixel: rows of a page that repeat themselves compress better as they are than by
 * the differences to their neighbours, which browsers write (PNG, third edition, §9 filtering).
 */

import { crc32, deflateSync, inflateSync } from "node:zlib";

const SIGNATURE_BYTES = 8;
/** Of a chunk beside its data: length, type, checksum. */
const CHUNK_BYTES = 12;
/** Samples of a pixel by the kind of colour; eight bits each. */
const SAMPLES: Readonly<Record<number, number>> = { 2: 3, 6: 4 };

interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
}

/** The same picture in fewer bytes. Throws for one that is not of true colour with eight bits a sample, or is interlaced. */
export function shrinkPng(png: Uint8Array): Uint8Array {
  const chunks = [...chunksOf(png)];
  const header = chunks[0].data;
  const view = new DataView(header.buffer, header.byteOffset);
  const samples = SAMPLES[header[9]];
  if (header[8] !== 8 || samples === undefined || header[12] !== 0) throw new Error("Cannot shrink this kind of PNG");
  const filtered = inflateSync(concat(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data)));
  const plain = deflateSync(unfiltered(filtered, view.getUint32(0) * samples, samples), { level: 9, memLevel: 9 });
  return concat([
    png.subarray(0, SIGNATURE_BYTES),
    ...[chunks[0], { type: "IDAT", data: plain }, { type: "IEND", data: new Uint8Array() }].map(encode),
  ]);
}

function* chunksOf(png: Uint8Array): Generator<Chunk> {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  for (let at = SIGNATURE_BYTES; at < png.length;) {
    const length = view.getUint32(at);
    const type = new TextDecoder().decode(png.subarray(at + 4, at + 8));
    yield { type, data: png.subarray(at + 8, at + 8 + length) };
    at += CHUNK_BYTES + length;
  }
}

function encode({ type, data }: Chunk): Uint8Array {
  const named = concat([new TextEncoder().encode(type), data]);
  const [length, checksum] = [data.length, crc32(named)].map((number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, number);
    return bytes;
  });
  return concat([length, named, checksum]);
}

/** Rows with the filter "none". `width`: the bytes of a row; `step`: those of a pixel. */
function unfiltered(rows: Uint8Array, width: number, step: number): Uint8Array {
  const plain = rows.slice();
  for (let row = 0; row < plain.length; row += 1 + width) {
    const filter = plain[row];
    plain[row] = 0;
    for (let i = row + 1; i <= row + width; i++) {
      const left = i - step > row ? plain[i - step] : 0;
      const above = row > 0 ? plain[i - 1 - width] : 0;
      const corner = row > 0 && i - step > row ? plain[i - 1 - width - step] : 0;
      plain[i] += [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
    }
  }
  return plain;
}

/** Of three neighbours the one that is nearest to left + above - corner (§9.4). */
function paeth(left: number, above: number, corner: number): number {
  const guess = left + above - corner;
  const [byLeft, byAbove, byCorner] = [left, above, corner].map((value) => Math.abs(guess - value));
  if (byLeft <= byAbove && byLeft <= byCorner) return left;
  return byAbove <= byCorner ? above : corner;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
