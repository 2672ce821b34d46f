/**
 * Runs a program on a pseudo-terminal and records what it writes: colours, bars and all. By FFI, because neither script(1) nor
 * Python is on every machine that has npm.
 */

const SYMBOLS = {
  /** int open(const char *pathname, int flags) */
  open: { parameters: ["buffer", "i32"], result: "i32" },
  /** int unlockpt(int fd) */
  unlockpt: { parameters: ["i32"], result: "i32" },
  /** int ptsname_r(int fd, char *buf, size_t buflen) */
  ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  /** int ioctl(int fd, unsigned long op, const struct winsize *size) */
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  /** ssize_t read(int fd, void *buf, size_t count) */
  read: { parameters: ["i32", "buffer", "usize"], result: "isize", nonblocking: true },
  /** int close(int fd) */
  close: { parameters: ["i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

type Libc = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

const LIBC = "libc.so.6";
const O_RDWR_NOCTTY_CLOEXEC = 0o2 | 0o400 | 0o2000000;
const TIOCSWINSZ = 0x5414n;
const NAME_BYTES = 64;
const READ_BYTES = 64 * 1024;

/** A program that has written this long is ended. */
const RUN_MAX_MS = 120_000;

/** The terminal that the program sees. */
export interface Terminal {
  readonly columns: number;
  readonly rows: number;
}

/** What the program writes to its terminal, until it ends. Throws if it fails, or where there are no pseudo-terminals. */
export async function record(command: readonly string[], { columns, rows }: Terminal): Promise<string> {
  const library = Deno.dlopen(LIBC, SYMBOLS);
  const libc = library.symbols;
  const main = required(libc.open(cString("/dev/ptmx"), O_RDWR_NOCTTY_CLOEXEC), "open /dev/ptmx");
  try {
    required(libc.unlockpt(main), "unlock the pseudo-terminal");
    required(libc.ioctl(main, TIOCSWINSZ, new Uint16Array([rows, columns, 0, 0])), "set the terminal's size");
    const program = spawnOn(nameOf(libc, main), command);
    const text = readAll(libc, main);
    const { success, code } = await program.status;
    if (!success) throw new Error(`${command.join(" ")} ended with ${code}:\n${await text}`);
    return await text;
  } finally {
    libc.close(main);
    library.close();
  }
}

/** The shell opens the terminal: Deno can give a program no descriptor of its choice. */
function spawnOn(terminal: string, command: readonly string[]): Deno.ChildProcess {
  const { NO_COLOR: _, COLUMNS: __, LINES: ___, ...env } = Deno.env.toObject();
  return new Deno.Command("sh", {
    args: ["-c", `exec "$@" <"$0" >"$0" 2>&1`, terminal, ...command],
    clearEnv: true,
    env: { ...env, TERM: "xterm-256color" },
    signal: AbortSignal.timeout(RUN_MAX_MS),
  }).spawn();
}

/** Reads until nobody has the terminal open any more; the system says EIO then. */
async function readAll(libc: Libc, main: number): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(READ_BYTES);
  let text = "";
  for (;;) {
    const count = Number(await libc.read(main, buffer, BigInt(buffer.length)));
    if (count <= 0) return text + decoder.decode();
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
}

function nameOf(libc: Libc, main: number): string {
  const name = new Uint8Array(NAME_BYTES);
  if (libc.ptsname_r(main, name, BigInt(name.length)) !== 0) throw new Error("Cannot tell the name of the pseudo-terminal");
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

function required(result: number, what: string): number {
  if (result < 0) throw new Error(`Cannot ${what}`);
  return result;
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
