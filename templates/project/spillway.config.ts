import { defineConfig } from 'spillway';

// Every key is optional; `npx spillway render --out settings` shows what they come to, `npx spillway plan ordersByDay` what a run would be lent.
export default defineConfig({
  workflows: './workflows.ts',
  transforms: './transforms.ts',
});
