import { MaskedLiquid } from './liquid-tokens.ts';

const TAG = /<!--[\s\S]*?-->|<!?(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:[^>"']|"[^"]*"|'[^']*')*)>|[^<]+|</g;
/** Elements whose inside nobody reads. */
const SILENT = new Set(['head', 'style', 'script', 'title', 'template']);
const PARAGRAPH = new Set(['p', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'ul', 'ol', 'blockquote', 'pre', 'hr']);
const LINE = new Set(['div', 'tr', 'br', 'section', 'article', 'header', 'footer', 'center', 'dt', 'dd']);
const VOID = new Set(['area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'source', 'track', 'wbr', 'doctype']);
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ', zwnj: '', zwj: '', shy: '', copy: '©', reg: '®', trade: '™', euro: '€', ndash: '–', mdash: '—', hellip: '…', lsquo: '‘', rsquo: '’', ldquo: '“', rdquo: '”', bull: '•', middot: '·', laquo: '«', raquo: '»' };

/** The plain-text alternative of an HTML template, its Liquid left in: links in brackets, lists with dashes. */
export function plainTextOf(html: string): string {
  const masked = new MaskedLiquid(html);
  return masked.restore(tidy(new TextWriter().write(masked.text)));
}

class TextWriter {
  #out = '';
  /** The element whose inside is skipped, and how deep the same name is nested in it. */
  #skipping: { readonly name: string; depth: number } | null = null;
  #link: { readonly href: string; readonly from: number } | null = null;

  write(html: string): string {
    for (const [whole, slash, name, attributes] of html.matchAll(TAG)) {
      if (whole.startsWith('<!--')) continue;
      if (name === undefined) {
        if (!this.#skipping) this.#out += decode(whole.replace(/\s+/g, ' '));
      } else if (this.#skipping) {
        this.#skip(this.#skipping, name.toLowerCase(), slash === '/');
      } else {
        this.#tag(name.toLowerCase(), slash === '/', attributes ?? '');
      }
    }
    return this.#out;
  }

  #skip(skipping: { readonly name: string; depth: number }, name: string, closes: boolean): void {
    if (name !== skipping.name) return;
    skipping.depth += closes ? -1 : 1;
    if (skipping.depth === 0) this.#skipping = null;
  }

  #tag(name: string, closes: boolean, attributes: string): void {
    if (!closes && (SILENT.has(name) || /display\s*:\s*none/i.test(attribute(attributes, 'style'))) && !VOID.has(name)) {
      this.#skipping = { name, depth: 1 };
    } else if (name === 'a') {
      if (closes) this.#endLink();
      else this.#link = { href: decode(attribute(attributes, 'href')), from: this.#out.length };
    } else if (name === 'img') {
      this.#out += decode(attribute(attributes, 'alt'));
    } else if (PARAGRAPH.has(name)) {
      this.#out += '\n\n';
    } else if (name === 'li') {
      if (!closes) this.#out += '\n- ';
    } else if (LINE.has(name)) {
      this.#out += '\n';
    } else if (name === 'td' || name === 'th') {
      this.#out += ' ';
    }
  }

  #endLink(): void {
    const link = this.#link;
    this.#link = null;
    if (link === null || link.href === '' || link.href.startsWith('#')) return;
    const text = this.#out.slice(link.from).trim();
    if (text !== link.href && `mailto:${text}` !== link.href && `tel:${text}` !== link.href) this.#out += ` (${link.href})`;
  }
}

function attribute(attributes: string, name: string): string {
  const found = new RegExp(`(?:^|\\s)${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s"'>]+))`, 'i').exec(attributes);
  return found?.[1] ?? found?.[2] ?? found?.[3] ?? '';
}

function decode(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|([a-zA-Z]+));/g, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = decimal !== undefined ? Number(decimal) : parseInt(hex!, 16);
    return code > 31 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : '';
  });
}

/** No spaces at the ends of lines, never more than one empty line. */
export function tidy(text: string): string {
  return `${text.replace(/[ \t\u00a0]+/g, ' ').replace(/ ?\n ?/g, '\n').replace(/\n{3,}/g, '\n\n').trim()}\n`;
}
