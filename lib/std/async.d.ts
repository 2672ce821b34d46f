/** Types for the parts of `@std/async` that the programs use. */
export interface DelayOptions {
  signal?: AbortSignal;
  persistent?: boolean;
}
export function abortable<T>(p: Promise<T>, signal: AbortSignal): Promise<T>;
export function deadline<T>(p: Promise<T>, ms: number): Promise<T>;
export function delay(ms: number, options?: DelayOptions): Promise<void>;
