// node shoot.mjs PROMETHEUS DASHBOARD.json PICTURE.png: draws the page, which must be built.
import fs from 'node:fs';
import { chromium } from 'playwright-core';
import { preview } from 'vite';

const [prometheus, dashboard, picture] = process.argv.slice(2);
const server = await preview({ preview: { port: 0, host: '127.0.0.1' }, logLevel: 'error' });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
page.on('pageerror', (error) => console.error(error.message));
await page.addInitScript(
  (given) => Object.assign(window, given),
  { prometheus, dashboard: JSON.parse(fs.readFileSync(dashboard)) },
);
await page.goto(`http://127.0.0.1:${server.httpServer.address().port}/`);
await page.waitForFunction(() => window.ready, null, { timeout: 60_000 });
await page.locator('#root').screenshot({ path: picture });
await browser.close();
await server.close();
