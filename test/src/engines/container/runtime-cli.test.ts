import { expect, test } from '@jest/globals';
import { parseListed } from '../../../../src/engines/container/runtime-cli.ts';

test('podman’s array and docker’s lines read the same', () => {
  const podman = JSON.stringify(
    [{ Names: ['a'], Labels: { spillway: '1', 'spillway.lease': 'r/s#0' }, State: 'running' }],
    null,
    2,
  );
  const docker = '{"Names":"a","Labels":"spillway=1,spillway.lease=r/s#0","State":"running"}\n';
  const expected = [{ name: 'a', running: true, labels: { spillway: '1', 'spillway.lease': 'r/s#0' } }];
  expect(parseListed(podman)).toEqual(expected);
  expect(parseListed(docker)).toEqual(expected);
});

test.each(['', '\n', '[]', '[]\n'])('no containers: %j', (text) => expect(parseListed(text)).toEqual([]));
