import { availableParallelism } from 'node:os';

// Types are checked by `npm run test:types`, not here. The compiler writes `.js` where sources import `.ts`; the mapper leads back.
const transform = {
  '^.+\\.ts$': [
    '@swc/jest',
    { swcrc: false, jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, sourceMaps: 'inline' },
  ],
};

const layer = (displayName, testMatch) => ({
  displayName,
  testMatch,
  transform,
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
});

/**
 * A layer whose tests leave the process they run in as it was: files share threads and what these have loaded, by test/typescript. Under the default
 * runner, which loads everything anew for each file, it takes 1.5 times as long. A test has no time limit there.
 */
const light = (displayName, testMatch) => ({ ...layer(displayName, testMatch), runner: 'jest-light-runner' });

/**
 * One project per layer: unit needs no server, workflows a Temporal server; parts are tested one by one, each with servers of its own, integration with those that
 * all its files share; systemd needs a host that has it (`npm run check:systemd`).
 */
export default {
  // One more than processors: tests of the unit layer wait for child processes a third of their time. The others run one by one.
  maxWorkers: availableParallelism() + 1,
  projects: [
    light('unit', ['<rootDir>/test/{src,workflows,activities,bench,docs,reference}/**/*.test.ts']),
    layer('workflows', ['<rootDir>/test/temporal/**/*.test.ts']),
    layer('parts', ['<rootDir>/test/parts/**/*.test.ts']),
    layer('integration', ['<rootDir>/test/integration/**/*.test.ts']),
    layer('chaos', ['<rootDir>/test/chaos/**/*.test.ts']),
    layer('systemd', ['<rootDir>/test/systemd/**/*.test.ts']),
  ],
};
