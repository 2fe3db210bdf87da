/**
 * A reporter beside the readable one. A run passes only if tests ran, each file held some, and none was skipped:
 * what cannot run here must say so by failing, because a skip looks like a pass.
 */
export default async function* nothingSkipped(events) {
  let ran = 0;
  const complaints = [];
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // The runner counts a file without tests as one test that bears the file's name.
    if (data.name === data.file && type === 'test:pass') complaints.push(`${data.name} holds no test`);
    else if (data.skip !== undefined || data.todo !== undefined) complaints.push(`${data.file ?? ''} "${data.name}" was skipped or is a todo`);
    else if (data.details?.type !== 'suite' && data.name !== data.file) ran += 1;
  }
  if (ran === 0) complaints.push('no test ran');
  if (complaints.length === 0) return;
  process.exitCode = 1;
  yield `FAILED, for these count as failures too:\n  ${complaints.join('\n  ')}\n`;
}
