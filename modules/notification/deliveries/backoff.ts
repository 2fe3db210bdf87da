/** The wait after the try with this number (0 is the first): doubling, with a fifth drawn at random. */
export function backoffMs(tries: number, { retryFirstMs, retryMostMs }: { readonly retryFirstMs: number; readonly retryMostMs: number }, random: () => number): number {
  const full = Math.min(retryFirstMs * 2 ** Math.min(tries, 30), retryMostMs);
  return Math.round(full * (0.8 + 0.2 * random()));
}
