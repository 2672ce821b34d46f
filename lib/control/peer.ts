/**
 * The user who listens on a Unix socket, from the Linux kernel (SO_PEERCRED, unix(7)). Uses four functions of libc with buffers
 * from JavaScript, so the permission to load libc is enough. The engine's libc.ts is too large for balancerctl to load.
 */

/** The possible paths of libc, the same as those of the engine; a test compares them. */
export const LIBC_PATHS = [
  `/lib/${Deno.build.arch}-linux-gnu/libc.so.6`,
  "/lib64/libc.so.6",
  "/usr/lib/libc.so.6",
  `/lib/libc.musl-${Deno.build.arch}.so.1`,
] as const;

const SYMBOLS = {
  /** int socket(int domain, int type, int protocol) */
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  /** int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen) */
  connect: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  /** int getsockopt(int sockfd, int level, int optname, void *optval, socklen_t *optlen) */
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  /** int close(int fd) */
  close: { parameters: ["i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

type Libc = Deno.DynamicLibrary<typeof SYMBOLS>;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
/** connect(2) must not block if the queue of the listener is full. */
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct sockaddr_un { sa_family_t sun_family; char sun_path[108]; } */
const SOCKADDR = { pathAt: 2, pathBytes: 108 };
/** struct ucred { pid_t pid; uid_t uid; gid_t gid; } */
const UCRED = { uidAt: 4, bytes: 12 };

/** The id of the user who listens on the socket at `path`; undefined if it cannot be determined. Connects and sends nothing. */
export function peerUid(path: string): number | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const libc = openLibc();
  if (libc === undefined) return undefined;
  try {
    return listenerOf(libc.symbols, path);
  } finally {
    libc.close();
  }
}

function openLibc(): Libc | undefined {
  for (const path of LIBC_PATHS) {
    try {
      return Deno.dlopen(path, SYMBOLS);
    } catch { /* the path of another distribution */ }
  }
}

function listenerOf(libc: Libc["symbols"], path: string): number | undefined {
  const fd = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return undefined;
  try {
    const address = addressOf(path);
    return libc.connect(fd, address, address.length) === 0 ? uidOf(libc, fd) : undefined;
  } finally {
    libc.close(fd);
  }
}

function addressOf(path: string): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(SOCKADDR.pathAt + SOCKADDR.pathBytes);
  new Uint16Array(address.buffer, 0, 1)[0] = AF_UNIX;
  new TextEncoder().encodeInto(path, address.subarray(SOCKADDR.pathAt, -1));
  return address;
}

function uidOf(libc: Libc["symbols"], fd: number): number | undefined {
  const [ucred, length] = [new Uint32Array(UCRED.bytes / 4), Uint32Array.of(UCRED.bytes)];
  const isKnown = libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, length) === 0;
  return isKnown ? ucred[UCRED.uidAt / 4] : undefined;
}
