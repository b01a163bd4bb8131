import { defineConfig } from 'spillway';

// Servers that somebody else runs. Every number comes from the profile of the machine.
export default defineConfig({
  hardware: 'epyc-768',
  temporal: { profile: 'production' },
  trino: { default: { url: 'http://127.0.0.1:8080', residence: 'resident' } },
  postgres: { default: { url: 'postgres://loader@db.internal:5432/mart', password: { secret: 'MART' } } },
  workflows: '../daily-revenue/workflows.ts',
  bundle: './workflows.bundle.js',
});
