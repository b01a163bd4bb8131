import tseslint from 'typescript-eslint';
import importX, { createNodeResolver } from 'eslint-plugin-import-x';

// Imports go one way (docs/architecture.md); each folder names what it must not reach.
const folders = {
  contracts: ['policy', 'sdk', 'config', 'host', 'render', 'engines', 'handoff', 'provision', 'worker', 'cli'],
  policy: ['sdk', 'config', 'host', 'render', 'engines', 'handoff', 'provision', 'worker', 'cli'],
  sdk: ['config', 'host', 'render', 'engines', 'handoff', 'provision', 'worker', 'cli'],
  config: ['sdk', 'host', 'render', 'engines', 'handoff', 'provision', 'worker', 'cli'],
  host: ['sdk', 'render', 'engines', 'handoff', 'provision', 'worker', 'cli'],
  render: ['sdk', 'engines', 'handoff', 'provision', 'worker', 'cli'],
  engines: ['sdk', 'provision', 'worker', 'cli'],
  handoff: ['sdk', 'provision', 'worker', 'cli'],
  provision: ['sdk', 'worker', 'cli'],
  worker: ['cli'],
};
const outward = ['**/activities/**', '**/workflows/**'];
const nodeBuiltins = [
  { regex: '^(node:|fs$|path$|os$|child_process$|net$|crypto$)', message: 'This code is pure or runs in a workflow.' },
];

const direction = Object.entries(folders).map(([folder, denied]) => ({
  files: [`src/${folder}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          {
            group: [...denied.map((name) => `**/${name}/**`), ...(folder === 'worker' ? [] : outward)],
            message: 'Imports go one way; see docs/architecture.md.',
          },
          ...(['contracts', 'policy', 'sdk'].includes(folder) ? nodeBuiltins : []),
        ],
      },
    ],
  },
}));

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    plugins: { 'import-x': importX },
    // Without these it reads no TypeScript, and finds no cycle whatever there is.
    settings: {
      'import-x/extensions': ['.ts'],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
      'import-x/resolver-next': [createNodeResolver({ extensions: ['.ts', '.js'] })],
    },
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      // Node's own runner waits for its tests by itself.
      '@typescript-eslint/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: [{ from: 'package', name: ['test'], package: 'node:test' }] },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'import-x/no-cycle': ['error', { ignoreExternal: true }],
      eqeqeq: 'error',
      // Async methods that implement a port need not await.
      '@typescript-eslint/require-await': 'off',
    },
  },
  ...direction,
  {
    files: ['activities/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['**/sdk/**', '**/provision/**', '**/worker/**', '**/cli/**', '**/workflows/**'],
              message: 'Imports go one way; see docs/architecture.md.',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['workflows/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: [
                '**/config/**',
                '**/host/**',
                '**/engines/**',
                '**/handoff/**',
                '**/worker/**',
                '**/cli/**',
                '**/activities/**',
              ],
            },
            ...nodeBuiltins,
          ],
        },
      ],
    },
  },
);
