import type { Problem, TemplateSource } from './liquid-engine.ts';

/** A template as its author wrote it. */
export interface AuthoredContent {
  readonly subject: string;
  readonly format: 'mjml' | 'html';
  readonly body: string;
  readonly text: string | null;
  readonly fromName: string;
}

/** What the worker is asked. `ticket` rises by one with each. */
export type RenderTask =
  /** `source` is left out when the worker should have the template already. */
  | { readonly kind: 'render'; readonly ticket: number; readonly key: string; readonly source?: TemplateSource; readonly data: object }
  /** For renderings to come. */
  | { readonly kind: 'parse'; readonly ticket: number; readonly key: string; readonly source: TemplateSource }
  | { readonly kind: 'compile'; readonly ticket: number; readonly content: AuthoredContent };

export type RenderOutcome =
  | { readonly kind: 'parts'; readonly parts: TemplateSource }
  /** None: the version that was to be parsed is. */
  | { readonly kind: 'problems'; readonly problems: readonly Problem[] }
  /** The template has been dropped for newer ones: ask again with its source. */
  | { readonly kind: 'template_missing' }
  /** Those before it took long; what has become known of them may change where this one belongs. */
  | { readonly kind: 'unstarted' };

/** `ms` of processor time went into it. */
export interface RenderAnswer {
  readonly ticket: number;
  readonly ms: number;
  readonly outcome: RenderOutcome;
}

/** Where the worker notes the ticket that it works on, so that a runaway can be told from those behind it; 0 is none. */
export const PROGRESS_BYTES = 4;
