/** Why a host cannot run, and what the operator can do about it. Shown as these two lines, without a stack. */
export class BootProblem extends Error {
  readonly remedy: string;
  constructor(what: string, remedy: string, cause?: unknown) {
    super(what, cause === undefined ? undefined : { cause });
    this.name = 'BootProblem';
    this.remedy = remedy;
  }
}
