import assert from 'node:assert/strict';
import { test } from 'node:test';
import { folded } from '../../../src/cli/folded.ts';

test('a row that is wider than the terminal goes on in the next line, between two of its cells where it can', () => {
  const row = '  portal.event-recorded          event  portal → trigger       queue trigger.portal.event-recorded';
  assert.equal(folded(row, 80), '  portal.event-recorded          event  portal → trigger\n      queue trigger.portal.event-recorded');
  assert.equal(folded(`head\n${row}`, undefined), `head\n${row}`);
  assert.equal(folded(row, 200), row);
  assert.equal(folded('  module  notification\n  its data goes with it and much else', 30), '  module  notification\n  its data goes with it and\n      much else');
});

test('no line is wider than the terminal, and nothing is lost', () => {
  const text = `  ${'x'.repeat(50)}  words that go on for longer than a line, with a path /${'y'.repeat(45)} in them`;
  for (let width = 24; width < 120; width++) {
    const lines = folded(text, width).split('\n');
    for (const line of lines) assert.ok(line.length <= width, `${width}: ${line}`);
    assert.equal(lines.join('').replaceAll(' ', ''), text.replaceAll(' ', ''));
  }
});
