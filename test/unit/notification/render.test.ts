import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { Renderer } from '../../../modules/notification/render/renderer.ts';
import { NotificationSettings } from '../../../modules/notification/settings.ts';

const renderer = new Renderer(NotificationSettings.parse({ templateTimeoutMs: 400, rendererIdleMs: 1_000 }));
after(() => renderer.stop());

const source = (parts: Partial<{ subject: string; html: string; text: string; fromName: string }>) => ({ subject: '', html: '', text: '', fromName: '', ...parts });
let versions = 0;
const render = (parts: Parameters<typeof source>[0], data: object = {}) => renderer.render(`v${++versions}`, source(parts), data);
/** For authors, with the usual patience: compiling on a busy machine takes its time. */
const drafts = new Renderer(NotificationSettings.parse({}));
after(() => drafts.stop());
const authored = (body: string, format: 'mjml' | 'html' = 'mjml', text: string | null = null) => drafts.compile({ subject: 's', format, body, text, fromName: '' });
const mjml = (inside: string) => `<mjml>\n<mj-body>\n${inside}\n</mj-body>\n</mjml>`;

async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  const thrown = await promise.then(() => assert.fail('nothing was thrown'), (error: unknown) => error);
  assert.ok(Fault.is(thrown), String(thrown));
  return thrown;
}
const problemsOf = async (promise: Promise<unknown>) => (await faultOf(promise)).details['problems'] as { part: string; line: number; message: string }[];

describe('rendering', () => {
  it('fills every part with the data', async () => {
    const data = { person: { name: 'Ada', tags: ['a', 'b'] }, event: { amount: 3 } };
    const parts = await render({ subject: 'Hi {{ person.name }}', html: '<p>{% for t in person.tags %}{{ t }},{% endfor %}</p>', text: '{{ event.amount | times: 2 }}', fromName: '{{ person.name }}' }, data);
    assert.deepEqual(parts, { subject: 'Hi Ada', html: '<p>a,b,</p>', text: '6', fromName: 'Ada' });
  });

  it("escapes a person's data in HTML, once, and not in text", async () => {
    const data = { person: { name: '<b>"x"</b>\n&' } };
    const parts = await render({ subject: '{{ person.name }}', text: '{{ person.name }}', html: '{{ person.name }}|{{ person.name | escape }}|{{ person.name | newline_to_br }}|{{ person.name | raw }}' }, data);
    const escaped = '&lt;b&gt;&#34;x&#34;&lt;/b&gt;\n&amp;';
    assert.equal(parts.html, `${escaped}|${escaped}|${escaped.replace('\n', '<br />\n')}|${data.person.name}`);
    assert.equal(parts.text, data.person.name);
    assert.equal(parts.subject, data.person.name);
  });

  it('shows nothing for what the person does not have', async () => {
    assert.equal((await render({ text: '[{{ person.nothing.deeper }}]' }, { person: {} })).text, '[]');
  });

  it('reaches no prototype', async () => {
    const data = { person: { name: 'Ada', list: [1] } };
    for (const expression of ['person.constructor', 'person.__proto__', 'person.name.constructor', 'person.list.constructor.name', 'person.toString', "person['__proto__']['constructor']", 'constructor', '__proto__']) {
      assert.equal((await render({ text: `{{ ${expression} }}` }, data)).text, '', expression);
    }
    assert.doesNotMatch((await render({ text: "{{ person.list | map: 'constructor' | json }}{{ person.list | where: 'constructor' | json }}" }, data)).text, /function|Object|Array/);
    for (const filter of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      assert.equal((await faultOf(render({ text: `{{ person.name | ${filter} }}` }, data))).reason, 'template_failed');
    }
  });

  it('reads no files and no other templates', async () => {
    for (const tag of ["{% include '/etc/passwd' %}", "{% render 'x' %}", "{% layout 'x' %}"]) {
      assert.match((await problemsOf(render({ html: tag })))[0]!.message, /not found/);
    }
  });

  it('ends loops, pads and repeats that would not, and renders the neighbours', { timeout: 20_000 }, async () => {
    const hostile = ['{% for i in (1..1000000000) %}{% endfor %}', "{{ 'now' | date: '%9999999d' }}", "{% assign s = 'x' %}{% for i in (1..60) %}{% assign s = s | append: s %}{% endfor %}",
      '{% for i in (1..9000) %}{% for j in (1..9000) %}{% for k in (1..9000) %}x{% endfor %}{% endfor %}{% endfor %}'];
    const all = await Promise.allSettled([...hostile.map((text) => render({ text })), ...Array.from({ length: 50 }, (_, i) => render({ text: `${i}{{ 1 }}` }))]);
    for (const result of all.slice(0, hostile.length)) assert.equal(result.status === 'rejected' && (result.reason as Fault).reason, 'template_failed');
    for (const result of all.slice(hostile.length)) assert.equal(result.status, 'fulfilled');
  });

  it('says which limit a template has reached, and what to do', async () => {
    for (const text of ['{% for i in (1..1000000000) %}{% endfor %}', "{% assign s = 'x' %}{% for i in (1..60) %}{% assign s = s | append: s %}{% endfor %}"]) {
      const [problem] = await problemsOf(render({ text }));
      assert.match(problem!.message, /too much text or loops too long.*10000000.*limit:/, text);
    }
    const [slow] = await problemsOf(render({ text: '{% for i in (1..9000) %}{% for j in (1..9000) %}{% for k in (1..9000) %}{% endfor %}{% endfor %}{% endfor %}' }));
    assert.match(slow!.message, /limit:|stopped/);
  });

  it('kills what its own limits do not end, and only that', { timeout: 60_000 }, async () => {
    // One long chain of filters: the library looks at its time limit only between two of them in the template's tree.
    const runaway = { text: `{{ person.list | ${Array.from({ length: 150 }, () => "where_exp: 'i', 'i.a contains i.b'").join(' | ')} | size }}` };
    const data = { person: { list: Array.from({ length: 50_000 }, (_, i) => ({ a: `key${i}`, b: 'key' })) } };
    const started = Date.now();
    const [killed, ...others] = await Promise.allSettled([render(runaway, data), ...Array.from({ length: 40 }, () => render({ text: 'fine {{ 1 }}' }))]);
    assert.ok(killed.status === 'rejected' && (killed.reason as Fault).details['why'] === 'template_timeout', JSON.stringify(killed));
    for (const other of others) assert.equal(other.status === 'fulfilled' && other.value.text, 'fine 1');
    assert.ok(Date.now() - started < 40_000);
  });

  it('survives a template that fills the memory', { timeout: 30_000 }, async () => {
    const greedy = { text: `{% for i in (1..100000) %}{{ person.x }}{{ i }}{% endfor %}` };
    const [full, other] = await Promise.allSettled([render(greedy, { person: { x: 'é'.repeat(20_000) } }), render({ text: 'fine {{ 1 }}' })]);
    assert.ok(full.status === 'rejected' && (full.reason as Fault).reason === 'template_failed', JSON.stringify(full));
    assert.equal(other.status === 'fulfilled' && other.value.text, 'fine 1');
  });

  it('rests a version that was killed twice', { timeout: 30_000 }, async () => {
    const runaway = source({ text: `{{ person.list | ${Array.from({ length: 150 }, () => "where_exp: 'i', 'i.a contains i.b'").join(' | ')} | size }}` });
    const data = { person: { list: Array.from({ length: 50_000 }, (_, i) => ({ a: `key${i}`, b: 'key' })) } };
    for (const _ of [1, 2]) assert.equal((await faultOf(renderer.render('slow', runaway, data))).details['why'], 'template_timeout');
    const started = Date.now();
    await faultOf(renderer.render('slow', runaway, data));
    assert.ok(Date.now() - started < 200);
  });

  it('stops output that outgrows its limit', async () => {
    assert.match((await problemsOf(render({ subject: '{{ person.x }}' }, { person: { x: 'x'.repeat(999) } })))[0]!.message, /998/);
    assert.equal((await problemsOf(render({ html: '{{ person.x }}' }, { person: { x: 'x'.repeat(1_000_001) } })))[0]!.part, 'body');
  });

  it('remembers more versions than the worker does', async () => {
    const texts = await Promise.all(Array.from({ length: 1_200 }, (_, i) => renderer.render(`many${i % 600}`, source({ text: `${i % 600}{{ x }}` }), { x: '!' })));
    texts.forEach((parts, i) => assert.equal(parts.text, `${i % 600}!`));
  });

  it('does not block the event loop', async () => {
    // In processor time of this thread: a busy machine makes every timer late.
    let longest = 0;
    let last = process.threadCpuUsage();
    const timer = setInterval(() => {
      const { user, system } = process.threadCpuUsage(last);
      longest = Math.max(longest, (user + system) / 1_000);
      last = process.threadCpuUsage();
    }, 1);
    await Promise.all(Array.from({ length: 2_000 }, () => render({ text: '{% for i in (1..50) %}{{ i }}{% endfor %}' })));
    clearInterval(timer);
    assert.ok(longest < 50, `${longest} ms`);
  });
});

describe('compiling', () => {
  it('makes HTML and text of MJML and leaves the Liquid in', async () => {
    const { html, text } = await authored(mjml(`<mj-section><mj-column>
      {% if person.vip %}<mj-text>Dear {{ person.name | default: "friend" }}</mj-text>{% else %}<mj-text>Hello</mj-text>{% endif %}
      <mj-button href="{{ event.url | append: '?a="b"' }}" background-color="{{ event.colour }}">Go</mj-button>
      <mj-image src="x.png" alt="A picture" />
    </mj-column></mj-section>{% for p in event.list %}<mj-section><mj-column><mj-text>{{ p }}</mj-text></mj-column></mj-section>{% endfor %}`));
    const parts = await render({ html, text }, { person: { vip: true, name: '<Ada>' }, event: { url: 'https://x.example/', colour: '#abcdef', list: ['one', 'two'] } });
    assert.match(parts.html, /Dear &lt;Ada&gt;/);
    assert.doesNotMatch(parts.html, /Hello|\{%|\{\{|lq[0-9a-f]{12}/);
    assert.match(parts.html, /href="https:\/\/x\.example\/\?a=&#34;b&#34;"/);
    assert.match(parts.html, /bgcolor="#abcdef"/);
    assert.equal(parts.text.replace(/\s+/g, ' ').trim(), 'Dear <Ada> Go (https://x.example/?a="b") A picture one two');
  });

  it('keeps Liquid before and after the MJML, and what raw and comment blocks hold', async () => {
    const { html } = await authored(`{% assign name = person.name %}${mjml('<mj-raw>{% raw %}{{ not liquid }}{% endraw %}{% comment %}<mj-text>{% endcomment %}</mj-raw><mj-section><mj-column><mj-text>{{ name }}</mj-text></mj-column></mj-section>')}{% assign z = 1 %}`);
    const parts = await render({ html }, { person: { name: 'Ada' } });
    assert.match(parts.html, /\{\{ not liquid \}\}/);
    assert.match(parts.html, /Ada/);
  });

  it('names the line of each problem', async () => {
    assert.deepEqual((await problemsOf(authored(mjml('<mj-section>\n<mj-foo></mj-foo></mj-section>')))).map(({ part, line }) => ({ part, line })), [{ part: 'body', line: 4 }]);
    assert.deepEqual((await problemsOf(authored(mjml('<mj-section>')))).map(({ line }) => line), [3]);
    assert.equal((await problemsOf(authored(mjml('\n{% if x %}'))))[0]!.line, 4);
    assert.equal((await problemsOf(authored('a\n{{ x | nofilter }}', 'html')))[0]!.line, 2);
    assert.equal((await problemsOf(authored('<p>not mjml</p>')))[0]!.part, 'body');
    assert.equal((await problemsOf(authored('fine', 'html', '{% for %}')))[0]!.part, 'text');
    assert.equal((await faultOf(authored('{{', 'html'))).reason, 'template_invalid');
  });

  it('includes no files, and says so', async () => {
    const [found] = await problemsOf(authored(mjml('\n<mj-include path="/etc/passwd" type="html" /><mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section>')));
    assert.equal(found!.line, 4);
    assert.match(found!.message, /mj-include/);
  });

  it('has a mail fetch no fonts but those that the template names', async () => {
    const text = '<mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section>';
    assert.doesNotMatch((await authored(mjml(text))).html, /https?:\/\/fonts/);
    const named = `<mjml><mj-head><mj-font name="Own" href="https://fonts.example/own.css" /></mj-head><mj-body>${text.replace('<mj-text>', '<mj-text font-family="Own, Arial">')}</mj-body></mjml>`;
    assert.match((await authored(named)).html, /https:\/\/fonts\.example\/own\.css/);
  });

  it('makes legible text of HTML', async () => {
    const { text } = await authored('<html><head><title>t</title><style>p{}</style></head><body><div style="display:none">peek<div>x</div></div><h1>Caf&eacute; &amp; Co&nbsp;&#8364;5</h1><p>See <a href="https://a.example/?x=1&amp;y=2">here</a> or <a href="https://b.example">https://b.example</a></p><ul><li>one</li><li>{{ x }}</li></ul><!--[if mso]>no<![endif]--></body></html>', 'html');
    assert.equal(text, 'Caf&eacute; & Co €5\n\nSee here (https://a.example/?x=1&y=2) or https://b.example\n\n- one\n- {{ x }}\n');
  });

  it('keeps the text that the author wrote', async () => {
    assert.equal((await authored('<p>x</p>', 'html', 'mine {{ y }}')).text, 'mine {{ y }}');
  });
});

describe('many drafts at once', () => {
  it('are refused beyond a hundred in line; those before them finish, and what is sent does not wait', { timeout: 20_000 }, async () => {
    const tries = Array.from({ length: 130 }, (_, i) => drafts.preview(source({ text: `${i}{{ x }}` }), { x: '!' }));
    const sent = Array.from({ length: 130 }, (_, i) => drafts.render('sent', source({ text: '{{ x }}' }), { x: i }));
    const results = await Promise.allSettled([...tries, drafts.compile({ subject: 's', format: 'html', body: '<p>x</p>', text: null, fromName: '' })]);
    for (const [i, result] of results.entries()) {
      if (i < 100) assert.equal(result.status === 'fulfilled' && result.value.text, `${i}!`);
      else assert.equal(result.status === 'rejected' && (result.reason as Fault).code, 'exhausted', `draft ${i}`);
    }
    for (const [i, parts] of (await Promise.all(sent)).entries()) assert.equal(parts.text, String(i));
    assert.equal((await drafts.preview(source({ text: 'again {{ x }}' }), { x: '!' })).text, 'again !');
  });
});
