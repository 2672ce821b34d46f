/**
 * Commands to a worker that is blocked in epoll_wait(2): a pipe whose read end is in its epoll set. A command is eight words, which
 * write(2) writes to a pipe atomically, so main and the other workers can share it. Data too large for a command goes by
 * postMessage, and a command announces the message.
 */

/** The kinds of command. A command is its kind, the epoch of the worker that it is for, and the arguments `a` to `d`. */
export const COMMAND = {
  /** Read a message that was sent by postMessage. */
  message: 1,
  /** Move the connections of the server with slot `a` away, according to its availability. */
  vacate: 2,
  /** Accept the clients in the listeners' queues, then stop accepting. */
  stopAccepting: 3,
  /** End every connection with fate number `a`. */
  endAll: 4,
  /** Close everything and exit. */
  exit: 5,
  /** Serve the client with descriptor `a`, which another worker has accepted. */
  client: 6,
  /** Accept waiting clients: the worker that was woken for them has died. */
  accept: 7,
  /** The server with slot `a` is silent: its checks have failed for `b` ms, and its last successful check was `c` ms ago. */
  lose: 8,
  /** Move the connection of client `a`, whose row has generation `b`, to its owner. */
  sendToOwner: 9,
  /** End the connection of client `a`, whose row has generation `b`, with fate `closed`. */
  closeOne: 10,
  /** Move the connection of client `a`, whose row has generation `b`, from the server with slot `c` to that with `d`; -1: any. */
  moveOne: 11,
  /** Write `a` into the worker table: a loop that turns does. */
  turn: 12,
} as const;

/** The length of a command in words. */
export const COMMAND_WORDS = 8;
/** The length of a command in bytes. */
export const COMMAND_BYTES = 4 * COMMAND_WORDS;
/** COMMAND_BYTES as an argument of write(2). */
export const COMMAND_SIZE = BigInt(COMMAND_BYTES);
