/** A person as the subject of a suppression. No address looks like it: a colon must be quoted there. */
export function personSubject(personId: string): string {
  return `person:${personId}`;
}
