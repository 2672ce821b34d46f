/** The PROXY protocol. */
export type ProxyVersion = "v1" | "v2";
