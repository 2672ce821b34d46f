/** The cookie that holds a browser's session (RFC 6265). Its name has the port: cookies are of a host, whatever its ports. Pure. */

/** The sessions in a Cookie header; several where another path or host has set one of the same name. */
export function sessionsIn(header: string, port: number): string[] {
  const name = `${nameOf(port)}=`;
  return header.split(";").map((pair) => pair.trim()).filter((pair) => pair.startsWith(name)).map((pair) =>
    pair.slice(name.length)
  );
}

/**
 * The value of a Set-Cookie header. No script reads it, and no request that another site causes has it. It ends with the browser.
 * `isSecure` where the browser speaks TLS, which then is in front of the dashboard.
 */
export function sessionCookie(session: string, port: number, isSecure: boolean): string {
  return `${nameOf(port)}=${session}; Path=/; HttpOnly; SameSite=Strict${isSecure ? "; Secure" : ""}`;
}

function nameOf(port: number): string {
  return `balancer-${port}`;
}
