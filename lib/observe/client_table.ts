/**
 * What clients with a common prefix have: open connections, arrivals, refusals and bytes, counted over all threads in one piece of
 * shared memory, without a lock on the path of a known client. Decides nothing: `routing/client_limits.ts` has the rules.
 *
 * The memory is an index of buckets and a list of entries. A bucket is one cache line: a version, and up to 15 words that name an
 * entry and hold 11 bits of its key's hash. An entry is one cache line, too. Entries are given out in order, so that pages are
 * backed only as clients come, and an entry stays in its bucket for good: later its place is taken by another client of the bucket,
 * once nobody is counted in it and its last arrival is so long ago that it counts for nothing.
 *
 * How threads agree:
 * - A thread raises the open connections of an entry first and looks at its key afterwards. While they are above 0 the entry cannot
 *   change hands, so a key that still fits stays; if it does not fit, the thread lowers them again and looks anew. Within that
 *   moment the other client appears to have one connection more.
 * - Only the thread that has made a bucket's version odd may add a client to it or give an entry to another one, and it looks for
 *   the client again before that. So no client has two entries. It marks the entry by a negative number of open connections, which
 *   it can only do while they are 0.
 * - A thread that finds the version odd for 10 ms, or no place, gives up: that connection is not tracked. A full table refuses
 *   nobody and blocks nobody.
 */

import { LIMITS } from "../values/config.ts";
import { COUNT_KEY_WORDS } from "../routing/client_limits.ts";

/** Words of the header, and of a bucket and an entry: 64 bytes each, a cache line. */
const LINE_WORDS = 16;
const LINE_SHIFT = 4;

/** Words of the header. */
const HEADER = { entries: 0, seed: 1, used: 2 } as const;

/** Words of an entry. */
const AT = {
  /** The key by which it is found (`writeCountKey`). */
  key: 0,
  open: 5,
  /** When the last arrival came, in ticks: windows have different lengths. */
  seen: 6,
  /** Arrivals that were admitted, and those that were refused, in windows of even and of odd number: see `#bump`. */
  admitted: 7,
  refused: 9,
  /** All refusals. */
  refusals: 11,
  /** 64-bit numbers, the lower word first. */
  sentBytes: 12,
  receivedBytes: 14,
} as const;

/** A key; its last word is never 0. */
const KEY_WORDS = COUNT_KEY_WORDS;

/** Entries per bucket on the average when the table is full: half of its places, so that few buckets have no place left. */
const ENTRIES_PER_BUCKET = 8;

/** The upper bits of a word of a bucket are those of the key's hash; the others are the number of the entry plus 1. */
const TAG_SHIFT = 21;
const TAG_MASK = -1 << TAG_SHIFT;

/** In the upper bits of a count of arrivals is the number of its window. */
const COUNT_BITS = 20;
const COUNT_MASK = (1 << COUNT_BITS) - 1;

/** What is added to the open connections of an entry while it is given to another client. */
const DEAD = -(2 ** 30);

/** How often a thread looks at once whether another one has finished adding a client to the bucket: some 10 µs. */
const SPINS_MAX = 1000;
/** Then the other one has lost its core: how often and for how long this one sleeps, so that it gets a core again. */
const SLEEPS_MAX = 50;
const SLEEP_MS = 0.2;

/** The unit of the time of an arrival: with 31 bits for a year, and rounded up, so that no arrival seems older than it is. */
const TICK_MS = 16;

/** Whoever says nothing else forgets clients whose last arrival is so long ago. */
const IDLE_MS = 20_000;

/** A time, and the window that it is in; windows have numbers from 0. An object that is used again and again. */
export interface Window {
  nowMs: number;
  number: number;
  lengthMs: number;
}

/** In place of an entry: the client is not tracked. */
export const UNTRACKED = -1;

/** What one prefix has. */
export interface ClientCount {
  /** KEY_WORDS words. */
  readonly key: Int32Array;
  readonly open: number;
  /** Arrivals that were admitted in the current window and in the one before, and those that were refused. */
  readonly arrivals: readonly [current: number, previous: number];
  readonly refusedArrivals: readonly [current: number, previous: number];
  readonly refusals: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** An entry, and what it is ranked by. */
interface Ranked {
  readonly entry: number;
  readonly window: Window;
  readonly rank: number;
  readonly refusals: number;
}

/** Memory for the counts of this many prefixes, a power of two from 16. `seed` makes the places of clients unpredictable. */
export function allocateClients(seed: number, entries: number = LIMITS.clientsTrackedMax): SharedArrayBuffer {
  const lines = 1 + entries / ENTRIES_PER_BUCKET + entries;
  const shared = new SharedArrayBuffer(lines * LINE_WORDS * Int32Array.BYTES_PER_ELEMENT);
  const words = new Int32Array(shared);
  words[HEADER.entries] = entries;
  words[HEADER.seed] = seed;
  return shared;
}

/** One thread's access to the counts. An entry is the number of its first word. No method allocates, except `top`. */
export class ClientTable {
  readonly #words: Int32Array;
  readonly #entries: number;
  readonly #seed: number;
  readonly #bucketMask: number;
  /** The first word of the entries. */
  readonly #start: number;
  /** The open connections of the entry that was acquired last, that one included. */
  open = 0;
  /** An entry changes hands when its last arrival is so long ago: two windows of the longest kind, in ms. */
  idleMs = IDLE_MS;

  constructor(readonly shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared);
    this.#entries = this.#words[HEADER.entries];
    this.#seed = this.#words[HEADER.seed];
    this.#bucketMask = this.#entries / ENTRIES_PER_BUCKET - 1;
    this.#start = (1 + this.#entries / ENTRIES_PER_BUCKET) << LINE_SHIFT;
  }

  /** Entries that were ever given out. */
  get used(): number {
    return Math.min(Atomics.load(this.#words, HEADER.used), this.#entries);
  }

  /** Counts one more open connection for this key. Returns its entry, or UNTRACKED, and then counts nothing. */
  acquire(key: Int32Array, nowMs: number): number {
    const hash = this.#hash(key);
    const bucket = this.#bucketOf(hash);
    for (let looks = 0; looks < SPINS_MAX; looks++) {
      const entry = this.#find(bucket, hash, key);
      if (entry < 0) break;
      this.open = Atomics.add(this.#words, entry + AT.open, 1) + 1;
      if (this.open > 0 && this.#isOf(entry, key)) return entry;
      Atomics.sub(this.#words, entry + AT.open, 1);
    }
    return this.#acquireNew(bucket, hash, key, nowMs);
  }

  /** The entry of a key that has been acquired and not released; UNTRACKED if there is none. */
  find(key: Int32Array): number {
    const hash = this.#hash(key);
    return this.#find(this.#bucketOf(hash), hash, key);
  }

  /** Counts one open connection less. */
  release(entry: number): void {
    Atomics.sub(this.#words, entry + AT.open, 1);
  }

  /** Counts an arrival. Returns the number of those in this window. */
  arrive(entry: number, window: Window): number {
    return this.#bump(entry, AT.admitted, window);
  }

  /** Takes an arrival back that was counted in this window. */
  withdraw(entry: number, { number }: Window): void {
    const words = this.#words;
    const at = entry + AT.admitted + (number & 1);
    for (let count = Atomics.load(words, at); isOfWindow(count, number) && (count & COUNT_MASK) > 0;) {
      const found = Atomics.compareExchange(words, at, count, count - 1);
      if (found === count) return;
      count = found;
    }
  }

  /** Arrivals in the window before this one. */
  arrivalsBefore(entry: number, { number, lengthMs }: Window): number {
    return this.#countOf(entry, AT.admitted, number - 1, lengthMs);
  }

  /** Counts an arrival that is refused. */
  refuse(entry: number, window: Window): void {
    this.#bump(entry, AT.refused, window);
    Atomics.add(this.#words, entry + AT.refusals, 1);
  }

  /** Adds the bytes of a connection. */
  addBytes(entry: number, sentBytes: number, receivedBytes: number): void {
    this.#add64(entry + AT.sentBytes, sentBytes);
    this.#add64(entry + AT.receivedBytes, receivedBytes);
  }

  /**
   * The prefixes that have most, at most `max`: by open connections, then by arrivals, then by refusals. `windowOf` gives the
   * window of a prefix, by the last word of its key; undefined: it is passed over.
   */
  top(max: number, windowOf: (kind: number) => Window | undefined): ClientCount[] {
    const best: Ranked[] = [];
    for (let number = 0, used = this.used; number < used; number++) {
      const entry = this.#start + (number << LINE_SHIFT);
      const window = windowOf(this.#words[entry + AT.key + KEY_WORDS - 1]);
      if (window === undefined) continue;
      const ranked = { entry, window, rank: this.#rank(entry, window), refusals: this.#words[entry + AT.refusals] >>> 0 };
      if (best.length === max && !outranks(ranked, best[max - 1])) continue;
      let [low, high] = [0, best.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (outranks(ranked, best[middle])) high = middle;
        else low = middle + 1;
      }
      best.splice(low, 0, ranked);
      if (best.length > max) best.pop();
    }
    return best.map(({ entry, window }) => this.#read(entry, window)).filter((count) => count !== undefined);
  }

  /** Open connections, then arrivals of two windows, which are at most four counts. */
  #rank(entry: number, { number, lengthMs }: Window): number {
    const count = (cells: number, window: number) => this.#countOf(entry, cells, window, lengthMs);
    const arrivals = count(AT.admitted, number) + count(AT.admitted, number - 1) + count(AT.refused, number) +
      count(AT.refused, number - 1);
    return this.#words[entry + AT.open] * (4 << COUNT_BITS) + arrivals;
  }

  /** What an entry says; undefined: it is being given to another client. */
  #read(entry: number, { number, lengthMs }: Window): ClientCount | undefined {
    const words = this.#words;
    const counts = (cells: number) =>
      [this.#countOf(entry, cells, number, lengthMs), this.#countOf(entry, cells, number - 1, lengthMs)] as const;
    const open = Atomics.load(words, entry + AT.open);
    const key = words.slice(entry + AT.key, entry + AT.key + KEY_WORDS);
    const count = {
      key,
      open,
      arrivals: counts(AT.admitted),
      refusedArrivals: counts(AT.refused),
      refusals: words[entry + AT.refusals] >>> 0,
      sentBytes: this.#get64(entry + AT.sentBytes),
      receivedBytes: this.#get64(entry + AT.receivedBytes),
    };
    return open >= 0 && key[KEY_WORDS - 1] !== 0 && this.#isOf(entry, key) ? count : undefined;
  }

  /** Looks without the bucket's lock: an entry that is not found may be there, and one that is found may have changed hands. */
  #find(bucket: number, hash: number, key: Int32Array): number {
    const words = this.#words;
    for (let at = bucket + 1; at < bucket + LINE_WORDS; at++) {
      const word = words[at];
      if (word === 0) return UNTRACKED; // places fill up in order, and none becomes free again
      if ((word ^ hash) >>> TAG_SHIFT === 0 && this.#isOf(this.#entryOf(word), key)) return this.#entryOf(word);
    }
    return UNTRACKED;
  }

  #isOf(entry: number, key: Int32Array): boolean {
    const words = this.#words;
    for (let i = 0; i < KEY_WORDS; i++) if (words[entry + AT.key + i] !== key[i]) return false;
    return true;
  }

  /** Adds a key to the bucket, if no other thread has done so meanwhile. */
  #acquireNew(bucket: number, hash: number, key: Int32Array, nowMs: number): number {
    const words = this.#words;
    for (let looks = 0; looks < SPINS_MAX + SLEEPS_MAX; looks++) {
      const version = Atomics.load(words, bucket);
      if ((version & 1) !== 0 && looks >= SPINS_MAX) Atomics.wait(words, bucket, version, SLEEP_MS);
      if ((version & 1) !== 0 || Atomics.compareExchange(words, bucket, version, version + 1) !== version) continue;
      const known = this.#find(bucket, hash, key);
      const entry = known < 0 ? this.#add(bucket, hash, key, nowMs) : known;
      if (known >= 0) this.open = Atomics.add(words, known + AT.open, 1) + 1;
      Atomics.store(words, bucket, version + 2 | 0);
      return entry;
    }
    return UNTRACKED;
  }

  /** Gives the key an idle entry of this bucket, or a new one, with one open connection. The bucket is this thread's. */
  #add(bucket: number, hash: number, key: Int32Array, nowMs: number): number {
    const words = this.#words;
    const idle = this.#takeIdle(bucket, nowMs);
    const at = idle >= 0 ? idle : this.#takePlace(bucket);
    if (at < 0) return UNTRACKED;
    const number = idle >= 0 ? (words[at] & ~TAG_MASK) - 1 : this.#takeNumber();
    if (number < 0) return UNTRACKED;
    const entry = this.#start + (number << LINE_SHIFT);
    for (let i = 0; i < LINE_WORDS; i++) if (i !== AT.open) words[entry + i] = i < KEY_WORDS ? key[i] : 0;
    words[entry + AT.seen] = tickOf(nowMs);
    Atomics.store(words, at, hash & TAG_MASK | number + 1);
    const alive = idle >= 0 ? 1 - DEAD : 1;
    this.open = Atomics.add(words, entry + AT.open, alive) + alive;
    return entry;
  }

  /** The place of the entry that has been idle for longest, now marked as dead; -1: none is idle. */
  #takeIdle(bucket: number, nowMs: number): number {
    const words = this.#words;
    let place = -1;
    let oldest = Math.floor((nowMs - this.idleMs) / TICK_MS) + 1;
    for (let at = bucket + 1; at < bucket + LINE_WORDS && words[at] !== 0; at++) {
      const entry = this.#entryOf(words[at]);
      if (words[entry + AT.seen] >= oldest || words[entry + AT.open] !== 0) continue;
      oldest = words[entry + AT.seen];
      place = at;
    }
    if (place < 0) return -1;
    return Atomics.compareExchange(words, this.#entryOf(words[place]) + AT.open, 0, DEAD) === 0 ? place : -1;
  }

  /** The first free place of a bucket; -1: none is left. */
  #takePlace(bucket: number): number {
    for (let at = bucket + 1; at < bucket + LINE_WORDS; at++) if (this.#words[at] === 0) return at;
    return -1;
  }

  /** The number of an entry that was never used; -1: none is left. */
  #takeNumber(): number {
    const number = Atomics.add(this.#words, HEADER.used, 1);
    if (number < this.#entries) return number;
    Atomics.sub(this.#words, HEADER.used, 1);
    return -1;
  }

  /**
   * Counts an arrival in the cell of its window. A cell holds the lower bits of its window's number above the count, so that a new
   * window begins at 1 by the same atomic step. Those bits come round after 4096 windows; the window of the last arrival tells.
   */
  #bump(entry: number, cells: number, { nowMs, number, lengthMs }: Window): number {
    const words = this.#words;
    const at = entry + cells + (number & 1);
    const tick = tickOf(nowMs);
    while (true) {
      const isStale = windowOf(Atomics.load(words, entry + AT.seen), lengthMs) < number - 1;
      const count = Atomics.load(words, at);
      const counted = isStale || !isOfWindow(count, number) ? 0 : count & COUNT_MASK;
      const next = Math.min(counted + 1, COUNT_MASK);
      if (Atomics.compareExchange(words, at, count, number << COUNT_BITS | next) !== count) continue;
      if (Atomics.load(words, entry + AT.seen) < tick) Atomics.store(words, entry + AT.seen, tick);
      return next;
    }
  }

  #countOf(entry: number, cells: number, number: number, lengthMs: number): number {
    const count = Atomics.load(this.#words, entry + cells + (number & 1));
    if (!isOfWindow(count, number)) return 0;
    return windowOf(this.#words[entry + AT.seen], lengthMs) >= number ? count & COUNT_MASK : 0;
  }

  #add64(at: number, amount: number): void {
    if (amount === 0) return;
    const low = amount % 2 ** 32 | 0;
    const before = Atomics.add(this.#words, at, low);
    const carry = (before >>> 0) + (low >>> 0) >= 2 ** 32 ? 1 : 0;
    const high = Math.floor(amount / 2 ** 32) + carry;
    if (high > 0) Atomics.add(this.#words, at + 1, high);
  }

  #get64(at: number): number {
    return (this.#words[at + 1] >>> 0) * 2 ** 32 + (this.#words[at] >>> 0);
  }

  #bucketOf(hash: number): number {
    return 1 + (hash & this.#bucketMask) << LINE_SHIFT;
  }

  #entryOf(word: number): number {
    return this.#start + ((word & ~TAG_MASK) - 1 << LINE_SHIFT);
  }

  /** MurmurHash3 (Appleby, 2011) of the key's words. Not for secrets: whoever has many prefixes has a limit for each anyway. */
  #hash(key: Int32Array): number {
    let hash = this.#seed;
    for (let i = 0; i < KEY_WORDS; i++) {
      const word = Math.imul(key[i], 0xcc9e2d51);
      hash ^= Math.imul(word << 15 | word >>> 17, 0x1b873593);
      hash = Math.imul(hash << 13 | hash >>> 19, 5) + 0xe6546b64 | 0;
    }
    hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
    return hash ^ hash >>> 16;
  }
}

function outranks(one: Ranked, other: Ranked): boolean {
  return one.rank === other.rank ? one.refusals > other.refusals : one.rank > other.rank;
}

function tickOf(nowMs: number): number {
  return Math.ceil(nowMs / TICK_MS);
}

/** The number of the window that a tick is in. */
function windowOf(tick: number, lengthMs: number): number {
  return Math.floor(tick * TICK_MS / lengthMs);
}

/** Whether a cell's count is of this window. */
function isOfWindow(count: number, window: number): boolean {
  return (count ^ window << COUNT_BITS) >>> COUNT_BITS === 0;
}
