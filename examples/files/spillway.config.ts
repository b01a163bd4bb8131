import { defineConfig } from 'spillway';

export default defineConfig({
  workflows: './workflows.ts',
  directories: {
    landing: { path: '/data/landing' },
    lake: { path: '/data/lake', access: 'write' },
  },
});
