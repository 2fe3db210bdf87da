/** Calls `action` once when the process that started us is gone, at most a second later; keeps nothing alive. */
export function onParentGone(action) {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    action();
  }, 1_000);
  watch.unref();
}
