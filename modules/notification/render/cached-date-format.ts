/** Templates choose locale and zone; more combinations than this are made anew each time. */
const MOST_KEPT = 500;

/**
 * Makes `Intl.DateTimeFormat(…)` answer formatters that it has made before. liquidjs makes one for every month's and
 * weekday's name that it writes, at 40 µs each: half of what a mail with a date costs. For render threads only, where
 * nothing else runs.
 */
export function keepDateFormats(): void {
  const original = Intl.DateTimeFormat;
  const kept = new Map<string, Intl.DateTimeFormat>();
  const keeping = (locale?: string | string[], options?: Intl.DateTimeFormatOptions): Intl.DateTimeFormat => {
    const key = `${String(locale)} ${JSON.stringify(options)}`;
    const known = kept.get(key);
    if (known !== undefined) return known;
    const made = new original(locale, options);
    if (kept.size < MOST_KEPT) kept.set(key, made);
    return made;
  };
  Intl.DateTimeFormat = Object.assign(function (locale?: string | string[], options?: Intl.DateTimeFormatOptions) {
    return keeping(locale, options);
  }, { supportedLocalesOf: original.supportedLocalesOf.bind(original) }) as unknown as typeof Intl.DateTimeFormat;
}
