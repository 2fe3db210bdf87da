/**
 * A reporter beside the readable one. A run passes only if tests ran and none was skipped: what cannot run here must
 * say so by failing, because a skip looks like a pass.
 */
export default async function* nothingSkipped(events) {
  let ran = 0;
  const skipped = [];
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.skip !== undefined || data.todo !== undefined) skipped.push(`${data.file ?? ''} ${data.name}`.trim());
    else if (data.details?.type !== 'suite' && data.name !== data.file) ran += 1;
  }
  if (ran > 0 && skipped.length === 0) return;
  process.exitCode = 1;
  yield ran === 0 ? 'FAILED: no test ran.\n' : '';
  if (skipped.length > 0) yield `FAILED: skipped or left as todo:\n  ${skipped.join('\n  ')}\n`;
}
