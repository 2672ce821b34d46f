/** Waiting with an end: every wait of the tool has a limit and ends when the user wants an end. */

/** Settles as the promise does; rejects with a sentence if that takes longer, and as the signal says when it is aborted. */
export async function within<T>(promise: PromiseLike<T>, maxMs: number, what: string, signal?: AbortSignal): Promise<T> {
  const early = Promise.withResolvers<never>();
  const timer = setTimeout(() => early.reject(new Error(`Waited ${maxMs} ms for ${what}`)), maxMs);
  const stop = () => early.reject(signal?.reason);
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  try {
    return await Promise.race([promise, early.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** Resolves after so long, or rejects when the signal is aborted. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, ms);
  const stop = () => over.reject(signal?.reason);
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  await over.promise.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  });
}
