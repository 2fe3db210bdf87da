import { ParsedTemplate } from '../../modules/notification/render/liquid-engine.ts';

/** HTML that takes a processor of this machine about `aimMs` to render, and how long it took just now by the clock. */
export function slowHtml(aimMs: number): { readonly html: string; readonly ms: number } {
  // The quickest of a few: the first ones find the machine's code cold.
  const tenMs = Math.min(...Array.from({ length: 8 }, () => timed(loops(10), cpuMs)));
  const html = loops(Math.ceil((10 * aimMs) / tenMs));
  return { html, ms: timed(html, () => performance.now()) };
}

function loops(times: number): string {
  return `{% for i in (1..${times}) %}{% for j in (1..1000) %}{% if j > 1000 %}.{% endif %}{% endfor %}{% endfor %}slow`;
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

function timed(html: string, now: () => number): number {
  const template = new ParsedTemplate({ subject: '', html, text: '', fromName: '' });
  const began = now();
  template.render({});
  return now() - began;
}
