/**
 * The parts of the C library that the epoll engine uses: every function with its prototype, every struct with its offsets, every
 * constant by its name. Linux on x86-64 and aarch64, glibc and musl. No other file of the engine touches a pointer: memory is
 * ArrayBuffers, and libc itself returns their addresses, so the permission to load libc is the only FFI permission needed.
 *
 * Types are chosen for speed (Deno turns such calls into direct ones of 10 to 30 ns): `i32` for descriptors, flags and results;
 * `usize` for addresses and sizes, passed as BigInt, because a number takes ten times as long. No call transfers more than 2³¹ − 1
 * bytes, so the lower half of an ssize_t is its value.
 */

import { messageOf } from "../../values/errors.ts";
import { ERRNO, ERRNO_WORDS } from "./errno.ts";

/** The paths of libc on common distributions. Deno's FFI permission covers exactly these files (deno.json). */
export const LIBC_PATHS = [
  `/lib/${Deno.build.arch}-linux-gnu/libc.so.6`, // Debian, Ubuntu
  "/lib64/libc.so.6", // Fedora, RHEL, SUSE
  "/usr/lib/libc.so.6", // Arch
  `/lib/libc.musl-${Deno.build.arch}.so.1`, // Alpine
] as const;

const SYMBOLS = {
  /** int *__errno_location(void) */
  __errno_location: { parameters: [], result: "usize" },
  /** void *memcpy(void *dest, const void *src, size_t n): from an address into an ArrayBuffer */
  memcpy: { parameters: ["buffer", "usize", "usize"], result: "usize" },
  /** void *memmove(void *dest, const void *src, size_t n): between two addresses */
  memmove: { parameters: ["usize", "usize", "usize"], result: "usize" },
  /** int malloc_trim(size_t pad): glibc alone has it */
  malloc_trim: { parameters: ["usize"], result: "i32", optional: true },
  /** int close(int fd) */
  close: { parameters: ["i32"], result: "i32" },
  /** ssize_t read(int fd, void *buf, size_t count) */
  read: { parameters: ["i32", "usize", "usize"], result: "i32" },
  /** ssize_t write(int fd, const void *buf, size_t count) */
  write: { parameters: ["i32", "usize", "usize"], result: "i32" },
  /** int pipe2(int pipefd[2], int flags) */
  pipe2: { parameters: ["usize", "i32"], result: "i32" },
  /** int getrlimit(int resource, struct rlimit *rlim) */
  getrlimit: { parameters: ["i32", "usize"], result: "i32" },
  /** int fcntl(int fd, int cmd, int arg) */
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  /** int socket(int domain, int type, int protocol) */
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  /** int bind(int sockfd, const struct sockaddr *addr, socklen_t addrlen) */
  bind: { parameters: ["i32", "usize", "i32"], result: "i32" },
  /** int listen(int sockfd, int backlog) */
  listen: { parameters: ["i32", "i32"], result: "i32" },
  /** int accept4(int sockfd, struct sockaddr *addr, socklen_t *addrlen, int flags) */
  accept4: { parameters: ["i32", "usize", "usize", "i32"], result: "i32" },
  /** int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen) */
  connect: { parameters: ["i32", "usize", "i32"], result: "i32" },
  /** int getsockname(int sockfd, struct sockaddr *addr, socklen_t *addrlen) */
  getsockname: { parameters: ["i32", "usize", "usize"], result: "i32" },
  /** int getpeername(int sockfd, struct sockaddr *addr, socklen_t *addrlen) */
  getpeername: { parameters: ["i32", "usize", "usize"], result: "i32" },
  /** int getsockopt(int sockfd, int level, int optname, void *optval, socklen_t *optlen) */
  getsockopt: { parameters: ["i32", "i32", "i32", "usize", "usize"], result: "i32" },
  /** int setsockopt(int sockfd, int level, int optname, const void *optval, socklen_t optlen) */
  setsockopt: { parameters: ["i32", "i32", "i32", "usize", "i32"], result: "i32" },
  /** ssize_t recv(int sockfd, void *buf, size_t len, int flags) */
  recv: { parameters: ["i32", "usize", "usize", "i32"], result: "i32" },
  /** ssize_t send(int sockfd, const void *buf, size_t len, int flags) */
  send: { parameters: ["i32", "usize", "usize", "i32"], result: "i32" },
  /** ssize_t sendmsg(int sockfd, const struct msghdr *msg, int flags) */
  sendmsg: { parameters: ["i32", "usize", "i32"], result: "i32" },
  /** ssize_t recvmsg(int sockfd, struct msghdr *msg, int flags) */
  recvmsg: { parameters: ["i32", "usize", "i32"], result: "i32" },
  /** int socketpair(int domain, int type, int protocol, int sv[2]) */
  socketpair: { parameters: ["i32", "i32", "i32", "usize"], result: "i32" },
  /** int ioctl(int fd, unsigned long op, int *argp) */
  ioctl: { parameters: ["i32", "usize", "usize"], result: "i32" },
  /** ssize_t readlink(const char *pathname, char *buf, size_t bufsiz) */
  readlink: { parameters: ["usize", "usize", "usize"], result: "i32" },
  /** int dup3(int oldfd, int newfd, int flags) */
  dup3: { parameters: ["i32", "i32", "i32"], result: "i32" },
  /** int kill(pid_t pid, int sig) */
  kill: { parameters: ["i32", "i32"], result: "i32" },
  /** ssize_t sendto(int sockfd, const void *buf, size_t len, int flags, const struct sockaddr *dest_addr, socklen_t addrlen) */
  sendto: { parameters: ["i32", "usize", "usize", "i32", "usize", "i32"], result: "i32" },
  /** int shutdown(int sockfd, int how) */
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  /** ssize_t splice(int fd_in, off_t *off_in, int fd_out, off_t *off_out, size_t len, unsigned int flags) */
  splice: { parameters: ["i32", "usize", "i32", "usize", "usize", "i32"], result: "i32" },
  /** int nanosleep(const struct timespec *duration, struct timespec *rem) */
  nanosleep: { parameters: ["usize", "usize"], result: "i32" },
  /** int clock_gettime(clockid_t clockid, struct timespec *tp) */
  clock_gettime: { parameters: ["i32", "usize"], result: "i32" },
  /** int prctl(int op, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5) */
  prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
  /** int epoll_create1(int flags) */
  epoll_create1: { parameters: ["i32"], result: "i32" },
  /** int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) */
  epoll_ctl: { parameters: ["i32", "i32", "i32", "usize"], result: "i32" },
  /** int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout) */
  epoll_wait: { parameters: ["i32", "usize", "i32", "i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Constants of <sys/socket.h>, <netinet/in.h> and <netinet/tcp.h>, by their C names. */
export const SOCKET = {
  AF_UNSPEC: 0,
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  SOCK_STREAM: 1,
  SOCK_DGRAM: 2,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  SOL_SOCKET: 1,
  SO_REUSEADDR: 2,
  SO_TYPE: 3,
  SO_ERROR: 4,
  SO_KEEPALIVE: 9,
  SO_OOBINLINE: 10,
  SO_LINGER: 13,
  SO_PEERCRED: 17,
  SO_ACCEPTCONN: 30,
  IPPROTO_IP: 0,
  IP_TRANSPARENT: 19,
  IP_BIND_ADDRESS_NO_PORT: 24,
  IPPROTO_IPV6: 41,
  IPV6_TRANSPARENT: 75,
  IPPROTO_TCP: 6,
  TCP_NODELAY: 1,
  TCP_KEEPIDLE: 4,
  TCP_KEEPINTVL: 5,
  TCP_KEEPCNT: 6,
  TCP_DEFER_ACCEPT: 9,
  TCP_INFO: 11,
  TCP_QUICKACK: 12,
  TCP_RTO_MAX_MS: 44, // since Linux 6.15
  MSG_OOB: 0x1,
  MSG_PEEK: 0x2,
  MSG_CTRUNC: 0x8,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  MSG_MORE: 0x8000,
  MSG_CMSG_CLOEXEC: 0x40000000,
  SCM_RIGHTS: 1,
  SHUT_RD: 0,
  SHUT_WR: 1,
} as const;

/** RLIMIT_NOFILE of <sys/resource.h>; struct rlimit { rlim_t rlim_cur; rlim_t rlim_max; } is two unsigned 64-bit numbers. */
export const RLIMIT_NOFILE = 7;

/** PR_SET_TIMERSLACK of <sys/prctl.h>. */
export const PR_SET_TIMERSLACK = 29;

/** CLOCK_MONOTONIC of <time.h>: the same in all processes of a machine. */
export const CLOCK_MONOTONIC = 1;

/** Constants of <fcntl.h> for descriptors, pipes and splice(2). */
export const FILE = {
  F_SETFD: 2,
  FD_CLOEXEC: 1,
  F_GETFL: 3,
  F_SETFL: 4,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  F_SETPIPE_SZ: 1031,
  SPLICE_F_MOVE: 1,
  SPLICE_F_NONBLOCK: 2,
  SPLICE_F_MORE: 4,
} as const;

/** Constants of <sys/epoll.h>. */
export const EPOLL = {
  CLOEXEC: 0o2000000,
  CTL_ADD: 1,
  CTL_DEL: 2,
  CTL_MOD: 3,
  IN: 0x1,
  PRI: 0x2,
  OUT: 0x4,
  ERR: 0x8,
  HUP: 0x10,
  RDHUP: 0x2000,
  EXCLUSIVE: 1 << 28,
  ET: 1 << 31,
} as const;

/**
 * struct epoll_event { uint32_t events; union { int32_t fd; uint64_t u64; } data; }: packed only on x86-64. In 32-bit words: its
 * length, and the positions of the lower and the upper half of `data`; `events` is word 0.
 */
export const EPOLL_EVENT = Deno.build.arch === "x86_64"
  ? { words: 3, dataLow: 1, dataHigh: 2 } as const
  : { words: 4, dataLow: 2, dataHigh: 3 } as const;

/**
 * Byte offsets in struct sockaddr_in and sockaddr_in6. The family is in host byte order, port and address in network byte order.
 */
export const SOCKADDR = {
  family: 0, // sa_family_t, 2 bytes
  port: 2, // in_port_t, 2 bytes
  address4: 4, // sin_addr, 4 bytes
  length4: 16,
  address6: 8, // sin6_addr, 16 bytes, after sin6_flowinfo
  length6: 28,
} as const;

/** struct sockaddr_un { sa_family_t sun_family; char sun_path[108]; } of <sys/un.h>, in bytes. */
export const SOCKADDR_UN = { path: 2, pathBytes: 108 } as const;

/**
 * struct tcp_info of <linux/tcp.h>: the length that is read, and the byte offsets of the fields. An older kernel fills in less; the
 * rest is 0.
 */
export const TCP_INFO = {
  length: 152,
  state: 0, // __u8 tcpi_state: a TCP_STATE
  retransmits: 2, // __u8 tcpi_retransmits: in a row, unanswered
  probes: 3, // __u8 tcpi_probes: of the window or keep-alive, in a row, unanswered
  unacked: 24, // __u32 tcpi_unacked: segments
  lastDataReceived: 52, // __u32 tcpi_last_data_recv: ms ago
  lastAckReceived: 56, // __u32 tcpi_last_ack_recv: ms ago
  ackedBytes: 120, // __u64 tcpi_bytes_acked, since Linux 4.1
  receivedBytes: 128, // __u64 tcpi_bytes_received, since Linux 4.1
  unsentBytes: 144, // __u32 tcpi_notsent_bytes, since Linux 4.6
} as const;

/** The states of a TCP socket whose peer has sent FIN (enum of <netinet/tcp.h>). */
export const TCP_STATE = { TIME_WAIT: 6, CLOSE_WAIT: 8, LAST_ACK: 9, CLOSING: 11 } as const;

/**
 * struct msghdr of <sys/socket.h>, in 64-bit words. musl's `msg_iovlen` and `msg_controllen` are 32 bits and padding: with the
 * padding 0 they read the same on these machines, which are little-endian.
 */
export const MSGHDR = {
  words: 7,
  name: 0, // void *msg_name
  nameLength: 1, // socklen_t msg_namelen
  vectors: 2, // struct iovec *msg_iov
  vectorCount: 3, // size_t msg_iovlen
  control: 4, // void *msg_control
  controlLength: 5, // size_t msg_controllen
  flags: 6, // int msg_flags
} as const;

/** struct cmsghdr, in 32-bit words: size_t cmsg_len, int cmsg_level, int cmsg_type; the data follow it. */
export const CMSGHDR = { length: 0, level: 2, type: 3, data: 4 } as const;

/** Requests of ioctl(2) on TCP sockets (tcp(7)): bytes that can be read; bytes that are not sent or not acknowledged. */
export const IOCTL = { SIOCINQ: 0x541b, SIOCOUTQ: 0x5411 } as const;

/** SIGKILL of <signal.h>. */
export const SIGKILL = 9;

type LibcSymbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** libc, opened for one thread, because errno is thread-local. */
export interface Libc extends Disposable {
  readonly call: LibcSymbols;
  /** The errno of the call that has just failed. Read it before any other call. */
  errno(): number;
  /** The address of a buffer's first byte. It is valid as long as the buffer is referenced: V8 does not move ArrayBuffers. */
  addressOf(buffer: ArrayBuffer | SharedArrayBuffer): bigint;
  /** Gives memory that the whole process has freed back to the system. Does nothing where libc has no such function. */
  trim(): void;
}

/** Opens libc. Throws if none of these files can be loaded. */
export function openLibc(paths: readonly string[] = LIBC_PATHS): Libc {
  const library = openFirst(paths);
  const call = library.symbols;
  const errnoAddress = BigInt(call.__errno_location());
  const errno = new Int32Array(new ArrayBuffer(4));
  return {
    call,
    errno() {
      call.memcpy(errno, errnoAddress, 4n);
      return errno[0];
    },
    addressOf: (buffer) => BigInt(call.memcpy(new Uint8Array(buffer as ArrayBuffer), errnoAddress, 0n)), // memcpy(3) returns dest
    trim: () => void call.malloc_trim?.(0n),
    [Symbol.dispose]: () => library.close(),
  };
}

function openFirst(paths: readonly string[]): Deno.DynamicLibrary<typeof SYMBOLS> {
  let failure: unknown;
  for (const path of paths) {
    try {
      return Deno.dlopen(path, SYMBOLS);
    } catch (error) {
      failure = error; // report a file that exists but does not load; otherwise the last path
      if (!/no such file/i.test(messageOf(error))) break;
    }
  }
  throw new Error(`libc cannot be loaded: ${messageOf(failure)}`);
}

/** An errno in words, with its name: "connection refused (ECONNREFUSED)". */
export function errnoText(errno: number): string {
  const name = Object.entries(ERRNO).find(([, number]) => number === errno)?.[0];
  if (name === undefined) return `error ${errno}`;
  const words = ERRNO_WORDS[name as keyof typeof ERRNO];
  return `${words} (${name})`;
}
