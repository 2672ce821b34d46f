import { assertEquals } from "@std/assert";
import { type Answer, classifyAnswer } from "../lib/http_answer.ts";

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

const CASES: [name: string, text: string, wasInterim: boolean, answer: Answer][] = [
  ["nothing but 100", CONTINUE, false, "interim"],
  ["nothing but 103 with a header", HINTS, false, "interim"],
  ["several interim answers", CONTINUE + HINTS + HINTS, false, "interim"],
  ["an interim answer of HTTP/1.0", "HTTP/1.0 100 Continue\r\n\r\n", false, "interim"],
  ["an interim answer that breaks off in its head", HINTS.slice(0, -7), false, "interim"],
  ["one that breaks off in the status line", "HTTP/1.1 1", false, "interim"],
  ["one that breaks off after the first letters", "HTT", false, "interim"],
  ["an interim answer and the beginning of another line", `${CONTINUE}HTTP/1.1 `, false, "interim"],
  ["an interim answer and the final one", `${CONTINUE}HTTP/1.1 200 OK\r\n`, false, "answer"],
  ["a final answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "answer"],
  ["a change of protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello", false, "upgrade"],
  ["a change of protocol after an interim answer", `${HINTS}HTTP/1.1 101 Switching Protocols\r\n`, false, "upgrade"],
  ["another protocol", "+PONG\r\n", false, "answer"],
  ["another protocol that begins alike", "HTTPS\r\n", false, "answer"],
  ["a version that is none", "HTTP/1.a 100\r\n\r\n", false, "answer"],
  ["the rest of an interim answer's head", "rel=preload\r\n\r\n", true, "interim"],
  ["the rest of a head that is still not complete", "rel=prel", true, "interim"],
  ["the rest of a head, and the final answer", "</a>\r\n\r\nHTTP/1.1 404 Not Found\r\n", true, "answer"],
  ["the final answer after interim ones", "HTTP/1.1 200 OK\r\n", true, "answer"],
  ["another interim one after interim ones", CONTINUE, true, "interim"],
];

for (const [name, text, wasInterim, answer] of CASES) {
  Deno.test(`classifyAnswer(): ${name}`, () => {
    const bytes = new Uint8Array(text.length + 100).fill(0x41); // what is behind the length is not looked at
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    assertEquals(classifyAnswer(bytes, text.length, wasInterim), answer);
  });
}

Deno.test("classifyAnswer() copes with answers cut anywhere", () => {
  const text = new TextEncoder().encode(`${CONTINUE}${HINTS}HTTP/1.1 200 OK\r\n\r\n`);
  const interimBytes = CONTINUE.length + HINTS.length;
  for (let cut = 1; cut < interimBytes; cut++) {
    assertEquals(classifyAnswer(text, cut, false), "interim");
    const rest = text.subarray(cut);
    // The last break within the empty line leaves a head whose end is not seen any more: better taken for unfinished than for answered.
    const isInHeadEnd = [1, 2, 3].some((more) => [CONTINUE.length, interimBytes].includes(cut + more));
    if (!isInHeadEnd) assertEquals(classifyAnswer(rest, rest.length, true), "answer", `cut after ${cut}`);
  }
});
