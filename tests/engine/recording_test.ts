import { assertEquals } from "@std/assert";
import { recordingSize } from "../../lib/engine/recording.ts";

Deno.test("recordingSize() begins at 1 KiB and grows fourfold", () => {
  assertEquals([1, 1024, 1025, 4096, 4097].map((bytes) => recordingSize(bytes, 0, 1e6)), [1024, 1024, 4096, 4096, 16_384]);
});

Deno.test("recordingSize() never shrinks a recording, and says when there may be no such one", () => {
  assertEquals(recordingSize(10, 4096, 1e6), 4096);
  assertEquals([recordingSize(1000, 0, 1000), recordingSize(1001, 0, 1000)], [1024, undefined]);
});
