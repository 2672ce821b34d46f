/** The errors of errno(3) that sockets, pipes and epoll have, as Linux numbers them on x86-64 and aarch64, and what they say. */

/** Numbers by name. */
export const ERRNO = {
  EPERM: 1,
  EINTR: 4,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EPIPE: 32,
  EPROTO: 71,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTDOWN: 112,
  EHOSTUNREACH: 113,
  EINPROGRESS: 115,
} as const;

/** A name of ERRNO. */
export type ErrnoName = keyof typeof ERRNO;

/** Words by name. */
export const ERRNO_WORDS: Readonly<Record<ErrnoName, string>> = {
  EPERM: "operation not permitted",
  EINTR: "interrupted",
  EBADF: "bad file descriptor",
  EAGAIN: "not now",
  ENOMEM: "out of memory",
  EACCES: "permission denied",
  EINVAL: "invalid argument",
  ENFILE: "the system has no descriptor left",
  EMFILE: "this process has no descriptor left",
  EPIPE: "broken pipe",
  EPROTO: "protocol error",
  EADDRINUSE: "address in use",
  EADDRNOTAVAIL: "address not available",
  ENETDOWN: "network is down",
  ENETUNREACH: "network unreachable",
  ECONNABORTED: "connection aborted",
  ECONNRESET: "connection reset",
  ENOBUFS: "out of buffers",
  ETIMEDOUT: "timed out",
  ECONNREFUSED: "connection refused",
  EHOSTDOWN: "host is down",
  EHOSTUNREACH: "host unreachable",
  EINPROGRESS: "in progress",
};
