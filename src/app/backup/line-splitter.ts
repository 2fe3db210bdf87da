/** Lines of a text that comes in pieces, in time that grows with the text however long a line is. */
export class LineSplitter {
  #rest: string[] = [];
  #length = 0;

  /** Characters of the line that has not come to its end. */
  get pending(): number {
    return this.#length;
  }

  /** The lines that end in this piece, without their ends. */
  take(piece: string): string[] {
    const [first, ...others] = piece.split('\n') as [string, ...string[]];
    this.#rest.push(first);
    this.#length += first.length;
    const last = others.pop();
    if (last === undefined) return [];
    const whole = this.#rest.join('');
    this.#rest = [last];
    this.#length = last.length;
    return [whole, ...others];
  }
}
