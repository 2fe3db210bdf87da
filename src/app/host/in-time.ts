/** What `read` answers; undefined when it fails, or has not answered in time. */
export async function inTime<T>(read: () => T | Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([Promise.resolve(read()), new Promise<undefined>((resolve) => (timer = setTimeout(resolve, ms, undefined)))]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
