/**
 * The timers of an engine's connections: hierarchical timing wheels (Varghese & Lauck, "Hashed and hierarchical timing wheels",
 * 1987, scheme 7). Every connection may have one timer, which moves often and hardly ever fires. So setting and clearing must cost
 * the same few instructions for one connection and for a million, and must create no garbage. Owns the lists of ids and the tick up
 * to which it has fired. Knows no clock and no connections: times and ids are plain numbers.
 */

import { assert } from "../../values/errors.ts";

/** The resolution of a wheel. Timeouts are seconds long, so 4 ms do not matter; and 64 ticks make a quarter of a second. */
export const TICK_MS = 4;

/** Slots per level: the bits of two words of the bitmap. */
const SLOTS = 64;

/**
 * A slot of level 0 is one tick long; a slot of a higher level is as long as the whole level below: 256 ms, 16.4 s, 17.5 min. The
 * highest level spans 18.6 h.
 */
const LEVELS = 4;

/**
 * The lists are circular and linked through nodes: one node for each list, which is both its start and its end, then one for each
 * id. No list or id has node 0, so memory that was never written means "no timer", and ids that never had a timer cost no memory.
 * The lists start at a multiple of SLOTS, so that the bits of a level fill two words of the bitmap.
 */
const FIRST_LIST = SLOTS;

/** The list of timers that must fire now. The lists before it are the slots, level by level. */
const DUE = FIRST_LIST + LEVELS * SLOTS;

const FIRST_ID = DUE + 1;

/**
 * Timers for the ids from 0 to `capacity` - 1 (an id is an integer, such as a file descriptor), at most one each. Times are in
 * milliseconds, possibly fractional, of one monotonic clock with any start. No method allocates. `set`, `clear` and `has` take
 * constant time; the time of `advance` depends on the timers that fire or come down a level, not on the length of the gap.
 */
export class TimerWheel {
  readonly #capacity: number;
  /** The next node of the same list; 0 for an id without a timer. */
  readonly #after: Int32Array<ArrayBuffer>;
  readonly #before: Int32Array<ArrayBuffer>;
  /** The tick at which each id's timer fires. Doubles: in 32 bits, ticks would overflow after 99 days. */
  readonly #ticks: Float64Array<ArrayBuffer>;
  /** One bit for each list, in their order, set if the list is not empty. */
  readonly #filled = new Int32Array((DUE >> 5) + 1);
  /**
   * The tick of the last `advance`. On level 0 it is the first of 64 ticks, and its slot holds timers that were set for a time in
   * the past. On higher levels its slot is empty, because its timers have come down, and the 63 slots after it are in use.
   */
  #tick: number;

  constructor(capacity: number, nowMs: number) {
    this.#capacity = capacity;
    this.#after = new Int32Array(FIRST_ID + capacity);
    this.#before = new Int32Array(FIRST_ID + capacity);
    this.#ticks = new Float64Array(capacity);
    this.#tick = Math.floor(nowMs / TICK_MS);
    for (let list = FIRST_LIST; list < FIRST_ID; list++) this.#after[list] = this.#before[list] = list;
  }

  /**
   * Sets or moves the timer of this id. It fires in the first `advance` at or after `dueMs`, rounded up to TICK_MS; never early. A
   * timer set to Infinity never fires.
   */
  set(id: number, dueMs: number): void {
    assert(id >= 0 && id < this.#capacity, "no such id"); // a message with the id would be allocated on every call
    assert(!Number.isNaN(dueMs), "due at no time");
    if (this.has(id)) this.#unlink(FIRST_ID + id);
    const tick = Math.ceil(dueMs / TICK_MS);
    this.#ticks[id] = tick;
    this.#link(FIRST_ID + id, this.#slotOf(tick));
  }

  /** Sets the timer of this id, unless it already fires at or before `dueMs`. */
  sooner(id: number, dueMs: number): void {
    if (!this.has(id) || this.#ticks[id] * TICK_MS > dueMs) this.set(id, dueMs);
  }

  /** Removes the timer of this id, if there is one. */
  clear(id: number): void {
    if (this.has(id)) this.#unlink(FIRST_ID + id);
  }

  /** When the timer of this id fires, rounded up to TICK_MS; Infinity: it has none. */
  dueMs(id: number): number {
    return this.has(id) ? this.#ticks[id] * TICK_MS : Infinity;
  }

  /** Whether this id has a timer. A timer is removed before `fire` is called. */
  has(id: number): boolean {
    return id >= 0 && this.#after[FIRST_ID + id] > 0; // -1, the descriptor of a closed socket, would be the node of a list
  }

  /**
   * Calls `fire` for every timer due at or before `nowMs`, in no particular order. `fire` may set and clear timers, including its
   * own. A timer that it clears or moves before its turn does not fire. A timer that it sets, even for a time in the past, fires
   * in the next `advance` at the earliest, so this call terminates. If `fire` throws, the remaining timers fire in the next call.
   * A time before that of the last call counts as the latter.
   */
  advance(nowMs: number, fire: (id: number) => void): void {
    this.#collectDue(Math.floor(nowMs / TICK_MS));
    for (let node = this.#after[DUE]; node !== DUE; node = this.#after[DUE]) {
      this.#unlink(node);
      fire(node - FIRST_ID);
    }
  }

  /**
   * How long to sleep before the next `advance`, as a timeout for epoll_wait(2): whole milliseconds, rounded up; 0 if a timer is
   * overdue; -1 if there is none. It is the time until the first timer fires or comes down a level, whichever is earlier. A single
   * timer less than 18 h away wakes its engine at most once per level.
   */
  sleepMs(nowMs: number): number {
    let wakeTick = this.#after[DUE] === DUE ? Infinity : this.#tick;
    let unit = this.#tick;
    for (let level = 0, ticksPerSlot = 1; level < LEVELS; level++, ticksPerSlot *= SLOTS) {
      const wait = this.#slotsToFilled(level, unit);
      if (wait < SLOTS) wakeTick = Math.min(wakeTick, (unit + wait) * ticksPerSlot);
      unit = Math.floor(unit / SLOTS);
    }
    return wakeTick === Infinity ? -1 : Math.max(0, Math.ceil(wakeTick * TICK_MS - nowMs));
  }

  /**
   * Moves to `tick` in one step, however far it is. Empties the slots on the way, level by level: due timers go to DUE, the others
   * to a lower level. Starts at the lowest level, so that a timer that comes down does not mix with timers of the previous round.
   */
  #collectDue(tick: number): void {
    let from = this.#tick;
    let to = this.#tick = Math.max(from, tick);
    for (let level = 0; level < LEVELS; level++) {
      const last = Math.min(to - from, SLOTS - 1);
      let passed = this.#slotsToFilled(level, from);
      while (passed <= last) {
        this.#empty(listOf(level, from + passed));
        passed += 1;
        passed += this.#slotsToFilled(level, from + passed);
      }
      from = Math.floor(from / SLOTS);
      to = Math.floor(to / SLOTS);
      if (from === to) return; // no new slot was entered on this level, so none above either
    }
  }

  /**
   * Moves every timer of a slot to its new list. Detaches the list first, because a timer beyond 18 h may return to the same slot.
   */
  #empty(list: number): void {
    let node = this.#after[list];
    this.#after[list] = this.#before[list] = list;
    this.#filled[list >> 5] &= ~(1 << list);
    while (node !== list) {
      const next = this.#after[node];
      const tick = this.#ticks[node - FIRST_ID];
      this.#link(node, tick <= this.#tick ? DUE : this.#slotOf(tick));
      node = next;
    }
  }

  /**
   * The slot for this tick, on the lowest level that reaches it. A tick beyond all levels goes to the last slot and is re-sorted
   * there.
   */
  #slotOf(tick: number): number {
    let now = this.#tick;
    let unit = Math.max(tick, now);
    for (let level = 0; level < LEVELS; level++) {
      if (unit - now < SLOTS) return listOf(level, unit);
      unit = Math.floor(unit / SLOTS);
      now = Math.floor(now / SLOTS);
    }
    return listOf(LEVELS - 1, Math.floor(this.#tick / SLOTS ** (LEVELS - 1)) + SLOTS - 1);
  }

  /**
   * The distance from the slot of `unit` to the first slot with timers, itself included, going round; at least SLOTS if there is
   * none.
   */
  #slotsToFilled(level: number, unit: number): number {
    const list = listOf(level, unit);
    const word = this.#filled[list >> 5];
    const ahead = word >>> list; // shifts use the lower five bits of their count, here and below
    if (ahead !== 0) return lowestBit(ahead);
    const aheadBits = 32 - (list & 31);
    const otherWord = this.#filled[(list >> 5) ^ 1];
    if (otherWord !== 0) return aheadBits + lowestBit(otherWord);
    return word !== 0 ? aheadBits + 32 + lowestBit(word) : SLOTS;
  }

  /** Adds a node to the end of a list. */
  #link(node: number, list: number): void {
    const last = this.#before[list];
    this.#after[last] = this.#before[list] = node;
    this.#before[node] = last;
    this.#after[node] = list;
    this.#filled[list >> 5] |= 1 << list;
  }

  #unlink(node: number): void {
    const after = this.#after[node];
    const before = this.#before[node];
    this.#after[before] = after;
    this.#before[after] = before;
    this.#after[node] = 0;
    if (after === before) this.#filled[after >> 5] &= ~(1 << after); // the list's own node is all that is left
  }
}

/**
 * The list of a level's slot for `unit`, a time in slots of this level. The bit operation uses the lower bits of an integer of any
 * size, negative ones in two's complement, so the slots go round without a gap at 0 or at 2³¹.
 */
function listOf(level: number, unit: number): number {
  return FIRST_LIST + level * SLOTS + (unit & (SLOTS - 1));
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
