/** The typed door to `@std/async`: delays and deadlines. The timer of `deadline` does not keep the process alive. */
// @ts-types="./async.d.ts"
export { abortable } from "deno-std/async/abortable.js";
// @ts-types="./async.d.ts"
export { deadline } from "deno-std/async/deadline.js";
// @ts-types="./async.d.ts"
export { delay } from "deno-std/async/delay.js";
