/** The one way in which every queue is driven: as many publishers as callers, then as many jobs as there are, handled. */
export const CALLERS = 100;
export const PAYLOAD = { text: 'x'.repeat(1_000) };

/** Publishes per second over `jobs` calls of `publish`, with CALLERS of them under way at once. */
export async function publishing(jobs, publish) {
  let next = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      while (next++ < jobs) await publish();
    }),
  );
  return perSecond(jobs, began);
}

/** Handled jobs per second, from the first to the last; `consume` gets a function to call for each. */
export async function handling(jobs, consume) {
  let handled = 0;
  let began = 0;
  let finish;
  const all = new Promise((resolve) => (finish = resolve));
  const stop = await consume(() => {
    if (handled++ === 0) began = performance.now();
    if (handled === jobs) finish();
  });
  await all;
  const rate = perSecond(jobs, began);
  await stop();
  return rate;
}

function perSecond(count, began) {
  return (count * 1_000) / (performance.now() - began);
}

export function report(figures) {
  process.stdout.write(`\n${JSON.stringify(figures)}\n`, () => process.exit(0));
}
