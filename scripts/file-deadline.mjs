// Preloaded into every test file. The runner's own time-out ends a test but not the file's process, which then hangs
// on whatever the test left open, and the whole run with it. Names what is open, since that is what to look for.
import { isMainThread } from 'node:worker_threads';

const deadlineMs = Number(process.env.MULTILITH_TEST_FILE_MS);

// What a test starts inherits flag and environment, but is no test file.
if (isMainThread && deadlineMs > 0 && process.argv[1]?.endsWith('.test.js')) {
  setTimeout(() => {
    process.stderr.write(`${process.argv[1]} is still running after ${deadlineMs / 1_000} s; open: ${process.getActiveResourcesInfo().join(', ')}\n`);
    process.exit(1);
  }, deadlineMs).unref();
}
