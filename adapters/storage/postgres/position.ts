/**
 * The position of a transaction is its own number, which is known before it commits, and so may lie in a row that it writes;
 * a place in the log is known only afterwards. Numbers mean nothing to another server, hence its own.
 */
export function positionOf(system: string, transaction: string): string {
  return `${system}/${transaction}`;
}

/** The transaction's number; null for a position of another server, which asks for nothing. */
export function transactionAt(position: string | null | undefined, system: string): string | null {
  const [of, transaction] = position?.split('/') ?? [];
  return of === system && transaction !== undefined && /^\d{1,20}$/.test(transaction) ? transaction : null;
}
