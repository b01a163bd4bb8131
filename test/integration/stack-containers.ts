import { execa } from 'execa';
import type { Stack } from './stack.ts';
import { eventually } from './stack-waiting.ts';

/** Waits for a running container of a step; answers its name. `not` are containers of earlier attempts. */
export function runningContainer(stack: Stack, step: string, not: readonly string[] = []): Promise<string> {
  const { runtime } = stack.parts.image;
  const labels = ['--filter', `label=spillway.pool=${stack.pool}`, '--filter', `label=spillway.step=${step}`];
  return eventually(
    async () => {
      const { stdout } = await execa(runtime, [
        'ps',
        '--filter',
        'status=running',
        ...labels,
        '--format',
        '{{.Names}}',
      ]);
      return stdout.split('\n').filter(Boolean).find((name) => !not.includes(name)); // prettier-ignore
    },
    { withinMs: 120_000, what: `a container of ${step}` },
  );
}
