import { createHash, verify, type KeyObject } from 'node:crypto';

export type DkimVerdict = { readonly valid: true; readonly domain: string; readonly selector: string } | { readonly valid: false };

/**
 * Checks a message's one DKIM signature with the given key, read straight from RFC 6376 (relaxed/relaxed) and RFC 8463;
 * shares nothing with the signer.
 */
export function verifyDkim(raw: string, key: KeyObject): DkimVerdict {
  const split = raw.indexOf('\r\n\r\n');
  const fields: [string, string][] = [];
  for (const line of raw.slice(0, split).split('\r\n')) {
    if (line.startsWith(' ') || line.startsWith('\t')) fields[fields.length - 1]![1] += `\r\n${line}`;
    else fields.push([line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]);
  }
  const signature = fields.find(([name]) => name.toLowerCase() === 'dkim-signature');
  if (signature === undefined) return { valid: false };
  const tags = Object.fromEntries(signature[1].split(';').map((tag) => [tag.slice(0, tag.indexOf('=')).trim(), tag.slice(tag.indexOf('=') + 1).replace(/\s+/g, '')]));
  const bodyHash = createHash('sha256').update(canonicalBody(raw.slice(split + 4)), 'latin1').digest('base64');
  if (bodyHash !== tags['bh']) return { valid: false };
  const left = [...fields];
  let input = '';
  for (const name of tags['h']!.split(':')) {
    const index = left.findLastIndex(([field]) => field.toLowerCase() === name.toLowerCase());
    if (index < 0) continue;
    const [[field, value]] = left.splice(index, 1) as [[string, string]];
    input += `${canonicalHeader(field, value)}\r\n`;
  }
  input += canonicalHeader(signature[0], signature[1].replace(/(\bb=)[A-Za-z0-9+/=\s]*$/, '$1'));
  const bytes = Buffer.from(input, 'latin1');
  const given = Buffer.from(tags['b']!, 'base64');
  const valid = tags['a'] === 'ed25519-sha256' ? verify(null, createHash('sha256').update(bytes).digest(), key, given) : verify('sha256', bytes, key, given);
  return valid ? { valid, domain: tags['d']!, selector: tags['s']! } : { valid: false };
}

function canonicalHeader(name: string, value: string): string {
  return `${name.trim().toLowerCase()}:${value.replace(/\r\n(?=[ \t])/g, '').replace(/[ \t]+/g, ' ').replace(/^ | $/g, '')}`;
}

function canonicalBody(body: string): string {
  const lines = body.split('\r\n').map((line) => line.replace(/[ \t]+/g, ' ').replace(/ $/, ''));
  while (lines.length > 0 && lines.at(-1) === '') lines.pop();
  return lines.map((line) => `${line}\r\n`).join('');
}
