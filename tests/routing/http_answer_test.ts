import { assertEquals } from "@std/assert";
import { ANSWER, classifyAnswer, UPGRADE } from "../../lib/routing/http_answer.ts";

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

const CASES: [name: string, text: string, kind: "answer" | "interim" | "upgrade"][] = [
  ["nothing but 100", CONTINUE, "interim"],
  ["nothing but 103 with a header", HINTS, "interim"],
  ["several interim answers", CONTINUE + HINTS + HINTS, "interim"],
  ["an interim answer of HTTP/1.0", "HTTP/1.0 100 Continue\r\n\r\n", "interim"],
  ["an interim answer that breaks off in its head", HINTS.slice(0, -7), "interim"],
  ["one that breaks off in the status line", "HTTP/1.1 1", "interim"],
  ["one that breaks off after the first letters", "HTT", "interim"],
  ["an interim answer and the beginning of another line", `${CONTINUE}HTTP/1.1 `, "interim"],
  ["an interim answer and the final one", `${CONTINUE}HTTP/1.1 200 OK\r\n`, "answer"],
  ["a final answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answer"],
  ["a change of protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhello", "upgrade"],
  ["a change of protocol after an interim answer", `${HINTS}HTTP/1.1 101 Switching Protocols\r\n`, "upgrade"],
  ["another protocol", "+PONG\r\n", "answer"],
  ["another protocol that begins alike", "HTTPS\r\n", "answer"],
  ["a version that is none", "HTTP/1.a 100\r\n\r\n", "answer"],
  ["interim answers whose lines end with LF alone", "HTTP/1.1 100 Continue\n\n", "interim"],
  ["such a one and the final answer", "HTTP/1.1 100 Continue\n\nHTTP/1.1 404 Not Found\n", "answer"],
  ["a status of 1xx that is neither 100 nor 101", "HTTP/1.1 111 Whatever\r\n\r\n", "interim"],
];

function kindOf(classified: number): string {
  return classified === ANSWER ? "answer" : classified === UPGRADE ? "upgrade" : "interim";
}

for (const [name, text, kind] of CASES) {
  const bytes = new TextEncoder().encode(`${text}A`); // what is behind the length is not looked at
  Deno.test(`classifyAnswer(): ${name}`, () => assertEquals(kindOf(classifyAnswer(bytes, text.length, 0)), kind));

  Deno.test(`classifyAnswer(): ${name}, cut anywhere`, () => {
    for (let cut = 0; cut <= text.length; cut++) {
      const before = classifyAnswer(bytes, cut, 0);
      if (before < 0) continue; // known already
      assertEquals(kindOf(classifyAnswer(bytes.subarray(cut), text.length - cut, before)), kind, `cut after ${cut}`);
    }
  });
}
