import { execFileSync } from 'node:child_process';

/** A mail as Python's own parser reads it: one that has nothing in common with whatever composed it. */
export interface ParsedMail {
  readonly headers: readonly (readonly [string, string])[];
  readonly defects: readonly string[];
  /** Content type and decoded text of each leaf, in order. */
  readonly parts: readonly { readonly type: string; readonly text: string }[];
}

const PROGRAM = `
import email, email.policy, json, sys
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
leaves = [part for part in message.walk() if not part.is_multipart()]
defects = [str(d) for part in message.walk() for d in part.defects]
json.dump({
  'headers': [[name, str(value)] for name, value in message.items()],
  'defects': defects + [str(d) for _, v in message.items() for d in getattr(v, 'defects', [])],
  'parts': [{'type': p.get_content_type(), 'text': p.get_content()} for p in leaves],
}, sys.stdout)
`;

export function parseWithPython(raw: string): ParsedMail {
  return JSON.parse(execFileSync('python3', ['-c', PROGRAM], { input: Buffer.from(raw, 'latin1'), encoding: 'utf8' })) as ParsedMail;
}

export function header(mail: ParsedMail, name: string): string | undefined {
  return mail.headers.find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
}
