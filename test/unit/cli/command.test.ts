import assert from 'node:assert/strict';
import { test } from 'node:test';
import { helpOf, parse, UsageError, type Command } from '../../../src/cli/command.ts';

const command: Command = {
  name: 'try',
  usage: '<what>',
  words: 2,
  details: 'Tries.',
  options: { json: { help: 'JSON.' }, limit: { value: 'N', short: 'l', help: 'How many.' }, set: { value: 'X', many: true, help: 'Set.' } },
  run: async () => 0,
};

test('words, switches and values are told apart', () => {
  const args = parse(command, ['a', '--json', '-l', '5', '--set', 'x=1', '--set=y=2', 'b']);
  assert.deepEqual([args.words, args.flag('json'), args.text('limit'), args.texts('set')], [['a', 'b'], true, '5', ['x=1', 'y=2']]);
  const none = parse(command, []);
  assert.deepEqual([none.words, none.flag('json'), none.text('limit'), none.texts('set')], [[], false, undefined, []]);
});

for (const argv of [['--jsn'], ['--limit'], ['--limit='], ['--json=1'], ['-x'], ['--__proto__'], ['--constructor']]) {
  test(`${argv.join(' ')} is refused`, () => {
    assert.throws(() => parse(command, argv), UsageError);
  });
}

test('a word more than the command takes is refused by name, with what it takes', () => {
  assert.throws(() => parse(command, ['a', 'b', 'c d', '--json']), (error: Error) => error instanceof UsageError && error.message.includes('"c d"') && error.message.includes('<what>'));
  const { words: _, ...wordless } = command;
  assert.throws(() => parse({ ...wordless, usage: '[options]' }, ['extra']), UsageError);
});

test('the nearest option is suggested', () => {
  assert.throws(() => parse(command, ['--limt', '3']), /--limit/);
});

test('the help names every option', () => {
  const help = helpOf(command);
  for (const part of ['multilith try <what>', '--json', '-l, --limit N', '--set X', '--help']) assert.ok(help.includes(part), part);
});
