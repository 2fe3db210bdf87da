import { createHmac } from 'node:crypto';
import { inject, injectable } from 'inversify';
import { Installation } from '../../../src/kernel/module.ts';
import { deriveKey } from '../access/secrets.ts';
import type { IdentityKind } from './people-rows.ts';

/** What a person was called, as a keyed hash: good for recognising, useless without the installation's secret. */
@injectable()
export class IdentityHashes {
  readonly #key: Buffer;

  constructor(@inject(Installation) installation: Installation) {
    this.#key = deriveKey(installation.secret, 'erased-identities');
  }

  of(workspace: string, kind: IdentityKind | 'email', value: string): string {
    return createHmac('sha256', this.#key).update(JSON.stringify([workspace, kind, value])).digest('base64url');
  }
}
