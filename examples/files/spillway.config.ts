import { defineConfig } from 'spillway';

export default defineConfig({
  workflows: './workflows.ts',
  directories: {
    landing: { path: '/data/landing' },
    rates: { url: 'https://rates.example/daily', maxConnections: 2, token: { secret: 'RATES' } },
    lake: { path: '/data/lake', access: 'write' },
  },
});
