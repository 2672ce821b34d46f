/**
 * PROXY headers as others write them, and what they say: of the specification (HAProxy, doc/proxy-protocol.txt), recorded from
 * HAProxy 2.6.12 and nginx 1.22.1 over loopback, and made by hand from the specification's structures.
 */

/** A whole header as its sender wrote it. */
export interface GoldenHeader {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** `ip port`, or undefined where the socket's addresses hold. */
  readonly source: string | undefined;
  readonly destination: string | undefined;
  /** Those that are passed on: type and value in hexadecimal, then the value as text where it is one. */
  readonly tlvs: readonly string[];
  readonly uniqueId: string | undefined;
}

/** A row: what a header says beyond nothing. */
type Says = Partial<Omit<GoldenHeader, "name" | "bytes">>;

const V2 = "0d0a0d0a000d0a515549540a";
/** What HAProxy says of TLS 1.3 with the client's certificate, behind the client's bits and the result of the verification. */
const HAPROXY_SSL = "0700000000" + "210007" + text("TLSv1.3") + "22000e" + text("client.example") + "250007" + text("RSA2048") +
  "24000a" +
  text("RSA-SHA256") + "230016" + text("TLS_AES_256_GCM_SHA384");

const LINES: readonly (readonly [name: string, line: string, says: Says])[] = [
  ["specification: the example", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443", both("192.168.0.1 56324", "192.168.0.11 443")],
  [
    "specification: the longest TCP4",
    "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
    both("255.255.255.255 65535", "255.255.255.255 65535"),
  ],
  [
    "specification: the longest TCP6",
    `PROXY TCP6 ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535`,
    both(`${"ff".repeat(16)} 65535`, `${"ff".repeat(16)} 65535`),
  ],
  ["specification: the shortest UNKNOWN", "PROXY UNKNOWN", {}],
  ["specification: the longest UNKNOWN", `PROXY UNKNOWN ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535`, {}],
  ["specification: UNKNOWN with anything", "PROXY UNKNOWN \0 \xff  PROXY TCP4 ", {}],
  ["ports of zero", "PROXY TCP4 0.0.0.0 1.2.3.4 0 0", both("0.0.0.0 0", "1.2.3.4 0")],
  [
    "IPv6 with upper case, zeroes in front and ::",
    "PROXY TCP6 2001:0DB8:: 0:0:0:0:0:0:0:1 1 2",
    both("20010db8000000000000000000000000 1", "00000000000000000000000000000001 2"),
  ],
  [
    "IPv6 with :: for one group, at the end and in the middle",
    "PROXY TCP6 1:2:3:4:5:6:7:: 1:2:3::5:6:7:8 1 2",
    both("00010002000300040005000600070000 1", "00010002000300000005000600070008 2"),
  ],
  [
    "IPv6 with its end as IPv4",
    "PROXY TCP6 ::1.2.3.4 ::FFFF:255.255.255.255 1 2",
    both("00000000000000000000000001020304 1", "00000000000000000000ffffffffffff 2"),
  ],
  ["HAProxy send-proxy", "PROXY TCP4 127.0.0.1 127.0.0.1 44102 57623", both("127.0.0.1 44102", "127.0.0.1 57623")],
  ["HAProxy send-proxy, IPv6", "PROXY TCP6 ::1 ::1 48824 51505", both(`${"0".repeat(31)}1 48824`, `${"0".repeat(31)}1 51505`)],
  [
    "HAProxy send-proxy, IPv4 client of a dual-stack listener",
    "PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 50558 50205",
    both("00000000000000000000ffff7f000001 50558", "00000000000000000000ffff7f000001 50205"),
  ],
  ["HAProxy send-proxy, Unix socket", "PROXY UNKNOWN", {}],
  ["HAProxy send-proxy, its check", "PROXY TCP4 127.0.0.1 127.0.0.1 59846 33587", both("127.0.0.1 59846", "127.0.0.1 33587")],
  ["nginx proxy_protocol on", "PROXY TCP4 127.0.0.1 127.0.0.1 52444 53507", both("127.0.0.1 52444", "127.0.0.1 53507")],
  ["nginx proxy_protocol on, IPv6", "PROXY TCP6 ::1 ::1 35288 48767", both(`${"0".repeat(31)}1 35288`, `${"0".repeat(31)}1 48767`)],
  [
    "nginx proxy_protocol on, IPv4 client of a dual-stack listener",
    "PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 52952 41761",
    both("00000000000000000000ffff7f000001 52952", "00000000000000000000ffff7f000001 41761"),
  ],
  ["nginx proxy_protocol on, Unix socket", "PROXY UNKNOWN", {}],
];

const BINARIES: readonly (readonly [name: string, hex: string, says: Says])[] = [
  ["HAProxy send-proxy-v2", "2111000c7f0000017f000001a32aed0f", both("127.0.0.1 41770", "127.0.0.1 60687")],
  [
    "HAProxy send-proxy-v2, IPv6",
    "21210024" + "0".repeat(31) + "1" + "0".repeat(31) + "19fc4bf0f",
    both(`${"0".repeat(31)}1 40900`, `${"0".repeat(31)}1 48911`),
  ],
  [
    "HAProxy send-proxy-v2, IPv4 client of a dual-stack listener",
    "2121002400000000000000000000ffff7f00000100000000000000000000ffff7f000001d4feb62d",
    both("00000000000000000000ffff7f000001 54526", "00000000000000000000ffff7f000001 46637"),
  ],
  [
    "HAProxy send-proxy-v2, TLS client with ALPN",
    "211100117f0000017f0000019d76c3c70100026832",
    { ...both("127.0.0.1 40310", "127.0.0.1 50119"), tlvs: ["01 6832 h2"] },
  ],
  ["HAProxy send-proxy-v2, Unix socket", "20000000", {}],
  ["HAProxy send-proxy-v2, its check", "20000000", {}],
  ["HAProxy crc32c", "211100137f0000017f000001d110d1c303000460455669", both("127.0.0.1 53520", "127.0.0.1 53699")],
  ["HAProxy crc32c, Unix socket", "20000007030004a9b87e8f", {}],
  [
    "HAProxy crc32c,unique-id",
    "211100237f0000017f000001eccc860d0300042573a25605000d37463030303030313a45434343",
    { ...both("127.0.0.1 60620", "127.0.0.1 34317"), uniqueId: "7F000001:ECCC" },
  ],
  [
    "HAProxy crc32c,unique-id,authority, TLS client with ALPN and SNI",
    "211100377f0000017f00000183cc86550300049e771d80010002683202000c73686f702e6578616d706c6505000d37463030303030313a38334343",
    {
      ...both("127.0.0.1 33740", "127.0.0.1 34389"),
      tlvs: ["01 6832 h2", `02 ${text("shop.example")} shop.example`],
      uniqueId: "7F000001:83CC",
    },
  ],
  [
    "HAProxy send-proxy-v2-ssl-cn with every option, TLS client with a certificate",
    "2111008a7f0000017f000001d78e8a9b0300043c9c9ca8010002683202000c73686f702e6578616d706c6505000d37463030303030313a44373845200050" +
    HAPROXY_SSL,
    {
      ...both("127.0.0.1 55182", "127.0.0.1 35483"),
      tlvs: ["01 6832 h2", `02 ${text("shop.example")} shop.example`, `20 ${HAPROXY_SSL}`],
      uniqueId: "7F000001:D78E",
    },
  ],
  ["HAProxy crc32c,unique-id, Unix socket: an empty id", "2000000a030004826374b8050000", {}],
  ["UDP over IPv4", "2112000cc00002010a00000104d20035", both("192.0.2.1 1234", "10.0.0.1 53")],
  [
    "UDP over IPv6",
    "21220024" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" + "04d20035",
    both("20010db8000000000000000000000001 1234", "20010db8000000000000000000000002 53"),
  ],
  ["Unix stream with a TLV", "213100dd" + "2f61".padEnd(216, "0") + "2f62".padEnd(216, "0") + "0100026832", {
    tlvs: ["01 6832 h2"],
  }],
  ["Unix datagram", "213200d8" + "2f61".padEnd(216, "0") + "2f62".padEnd(216, "0"), {}],
  ["PROXY with nothing specified", "21000000", {}],
  ["PROXY of an unspecified family: what follows is skipped", "21010005ff00ffffff", {}],
  ["IPv4 without a transport: no addresses", "2110000cc00002010a00000104d20035", {}],
  ["LOCAL: the rest is skipped", "20ff0005ff00ffffff", {}],
  [
    "NOOP, an empty TLV, a private one, and the same type twice",
    "2111001fc00002010a00000104d20035" + "0400020000" + "020000" + "e00001aa" + "e0000155" + "040000",
    { ...both("192.0.2.1 1234", "10.0.0.1 53"), tlvs: ["02  ", "e0 aa", "e0 55"] },
  ],
];

/** All of them. */
export const GOLDEN_HEADERS: readonly GoldenHeader[] = [
  ...LINES.map(([name, line, says]) => golden(name, text(`${line}\r\n`), says)),
  ...BINARIES.map(([name, hex, says]) => golden(name, V2 + hex, says)),
];

function golden(name: string, hex: string, says: Says): GoldenHeader {
  return {
    name,
    bytes: Uint8Array.fromHex(hex),
    source: undefined,
    destination: undefined,
    tlvs: [],
    uniqueId: undefined,
    ...says,
  };
}

function both(source: string, destination: string): Says {
  return { source, destination };
}

/** Characters up to ÿ as bytes in hexadecimal. */
function text(characters: string): string {
  return Uint8Array.from(characters, (character) => character.charCodeAt(0)).toHex();
}
