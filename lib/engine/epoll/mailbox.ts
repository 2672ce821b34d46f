/**
 * How a worker that is blocked in epoll_wait(2) is told something: a pipe whose reading end is in its epoll set. A command is
 * eight words, which write(2) puts into a pipe whole or not at all; so main and the other workers may all write to it. What does not
 * fit into a command goes by postMessage, and the command says that there is a message.
 */

/** What a command says: a kind, the epoch that it is for, and the arguments `a`, `b` and `c`. */
export const COMMAND = {
  /** A message of postMessage is there to be taken. */
  message: 1,
  /** The connections of the server with slot `a` are to leave it, as its availability says. */
  vacate: 2,
  /** Accept what is in the listener's queue, and then no more. */
  stopAccepting: 3,
  /** End every connection with fate number `a`. */
  endAll: 4,
  /** Close everything and be gone. */
  exit: 5,
  /** Descriptor `a` is a client's that another worker has accepted. */
  client: 6,
  /** Look whether clients wait: the worker that was woken for them has died. */
  accept: 7,
  /** The server with slot `a` is silent: its checks have failed for `b` ms, and it was last known to be well `c` ms ago. */
  lose: 8,
  /** The connection of client `a`, whose row has generation `b`, goes to the server that the ring gives it to. */
  sendToOwner: 9,
} as const;

/** A command's length. */
export const COMMAND_WORDS = 8;
/** The same in bytes, and as libc takes it. */
export const COMMAND_BYTES = 4 * COMMAND_WORDS;
/** See COMMAND_BYTES. */
export const COMMAND_SIZE = BigInt(COMMAND_BYTES);
