// The dashboard in a real browser, both the one of a kubeconfig and the one at /ui of `up`.
// `cargo xtask dashboard` starts it, with EVERLEAF, KUBECTL, OPENSSL, CHROMIUM and PLAYWRIGHT (a
// folder with node_modules) set; NODES says how many there are.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { Stage, ensure, eventually, freePort, same } from './stage.mjs';

const { chromium } = createRequire(`${process.env.PLAYWRIGHT}/`)('playwright-core');
const HOSTILE = '<img src=x onerror=alert(1)>';
// Three pages of them at least.
const NODES = Math.max(101, Number(process.env.NODES ?? 5000));
const PAGE_MILLISECONDS_MAX = 5000;

let stage = new Stage();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
const port = await freePort();
// Where the pages are, and below which path.
let origin = `http://127.0.0.1:${port}`;
let base = '';
// How a browser comes in.
let enter;
// What no page may do.
const offences = [];
let failed = 0;

async function point(what, claim) {
  const begun = Date.now();
  let word = 'ok';
  try {
    await claim();
  } catch (error) {
    failed += 1;
    word = `FAILED: ${error.message.slice(0, 2000)}`;
  }
  console.log(`    ${what.padEnd(72)} ${((Date.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${word}`);
}

/** A browser's window that tells of every offence. */
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`)) offences.push(`it asks ${request.url()}`);
  });
  page.on('dialog', (dialog) => offences.push(`it says ${dialog.message()}`));
  page.on('pageerror', (error) => offences.push(`its script fails: ${error}`));
  // What a browser refuses by the policy, it tells here.
  page.on('console', (message) => {
    if (message.type() === 'error' && !/status of (4|5)\d\d/.test(message.text())) offences.push(message.text());
  });
  return page;
}

/** Presses Tab until this has the focus, and sees that it shows. */
async function tabTo(page, selector, tabsMax = 60) {
  for (let tabs = 0; tabs < tabsMax; tabs += 1) {
    await page.keyboard.press('Tab');
    const seen = await page.evaluate((wanted) => {
      const active = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(active);
      return { is: active.matches(wanted), shows: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2, what: active.outerHTML };
    }, selector);
    ensure(seen.shows, `no focus is seen on ${seen.what}`);
    if (seen.is) return;
  }
  throw new Error(`${tabsMax} tabs do not lead to ${selector}`);
}

const live = (page) => page.locator('#live').filter({ hasText: '● Live' }).waitFor({ timeout: 15000 });

async function keyboardAndLive(secret) {
  const page = await open();
  await point('one comes in, and the secret stays neither in the address bar nor in the page', async () => {
    await enter(page);
    same('address', page.url(), `${origin}${base}/`);
    await live(page);
    ensure(!(await page.content()).includes(secret), 'the secret is in the page');
  });
  await point('a request appears by itself, and the focus stays where it was', async () => {
    await tabTo(page, '#state-pending');
    const marked = await page.evaluate(() => (window.mark = 'same page'));
    stage.file(HOSTILE);
    await page.getByRole('link', { name: HOSTILE }).waitFor({ timeout: 15000 });
    same('mark', await page.evaluate(() => window.mark), marked);
    same('focus', await page.evaluate(() => document.activeElement.id), 'state-pending');
    same('images', await page.locator('img').count(), 0);
    same('title', await page.locator('#requests-title').textContent(), 'Requests (1 pending)');
  });
  await point('a person approves it with the keyboard alone', async () => {
    await tabTo(page, '#requests li a');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: HOSTILE }).waitFor();
    ensure((await page.locator('#asked').textContent()).includes('ann<script>'), 'the subject is not shown');
    await tabTo(page, '#approve');
    await page.keyboard.press('Enter');
    await page.getByText('You have approved this request.').waitFor({ timeout: 15000 });
    same('conditions', stage.conditions(HOSTILE), ['Approved']);
    await page.getByText('Approved,Issued').waitFor({ timeout: 15000 });
    same('buttons', await page.locator('#approve, #deny').count(), 0);
  });
  await point('what somebody else decides shows, but not over what is being written', async () => {
    stage.file('laptop');
    await page.goto(`${origin}${base}/requests/laptop`);
    await live(page);
    await page.locator('#message').fill('not ours');
    stage.kubectl('certificate', 'deny', 'laptop');
    await page.locator('#request').filter({ hasText: 'Denied' }).waitFor({ timeout: 15000 });
    same('what was written', await page.locator('#message').inputValue(), 'not ours');
    await page.locator('#deny').click();
    await page.getByText('It is denied already').waitFor({ timeout: 15000 });
  });
  await page.context().close();
}

async function withoutScript() {
  await point('without JavaScript it is read, and a request denied', async () => {
    const page = await open({ javaScriptEnabled: false });
    stage.file('no-script');
    await enter(page);
    await eventually('the request', 15, async () => {
      await page.reload();
      ensure((await page.content()).includes('no-script'), 'it does not appear');
    });
    await page.getByRole('link', { name: 'no-script' }).first().click();
    await page.locator('#message').fill('not <b>ours</b>');
    await page.locator('#deny').click();
    await page.getByText('You have denied this request.').waitFor();
    await page.getByText('not <b>ours</b>').first().waitFor();
    same('conditions', stage.conditions('no-script'), ['Denied']);
    await page.context().close();
  });
}

async function otherPages() {
  await point('a page of another port or site cannot have it decide, nor read it', async () => {
    stage.file('target');
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const own = await context.newPage();
    await enter(own);
    await own.goto(`${origin}${base}/requests/target`);
    const field = (name) => own.locator(`form:has(#approve) [name=${name}]`).inputValue();
    const [key, uid] = [await field('key'), await field('uid')];
    // Even one that knows the fields of the form.
    const attack = `<form method=post action="${origin}${base}/requests/target/approve"><input name=key value="${key}"><input name=uid value="${uid}"></form>
      <script>document.forms[0].submit()</script>`;
    const server = createServer((request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end(request.url === '/attack' ? attack : '');
    });
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    try {
      for (const host of ['127.0.0.1', 'localhost']) {
        const foreign = `http://${host}:${server.address().port}`;
        const page = await context.newPage();
        const answer = page.waitForResponse((response) => response.request().method() === 'POST');
        await page.goto(`${foreign}/attack`);
        const status = (await answer).status();
        ensure(status === 401 || status === 403, `${host}: ${status}`);
        await page.goto(`${foreign}/read`);
        const reads = (to) => fetch(to, { credentials: 'include' }).then(() => true, () => false);
        ensure(!(await page.evaluate(reads, `${origin}${base}/`)), `${host} reads it`);
        const frames = (to) =>
          new Promise((done) => {
            const frame = document.createElement('iframe');
            frame.src = to;
            frame.onload = () => done(frame.contentDocument === null);
            document.body.append(frame);
          });
        // What is refused is a page of its own, of an origin that nobody has.
        await page.evaluate(frames, `${origin}${base}/`);
        const inside = page.frames().find((frame) => frame.parentFrame());
        ensure(!(await inside.content()).includes('Who lapses next'), `${host} frames it`);
      }
    } finally {
      server.closeAllConnections();
      server.close();
    }
    same('conditions', stage.conditions('target'), []);
    await context.close();
  });
}

async function manyNodes() {
  const page = await open();
  await enter(page);
  await point(`${NODES} nodes are there by themselves`, async () => {
    await live(page);
    stage.nodes(NODES);
    await page.locator('#standing').filter({ hasText: `${NODES} nodes` }).waitFor({ timeout: 120000 });
  });
  await point('they are paged, searched and sorted, each within seconds', async () => {
    const quick = async (what, step) => {
      const begun = Date.now();
      await step();
      const took = Date.now() - begun;
      ensure(took < PAGE_MILLISECONDS_MAX, `${what} takes ${took} ms`);
    };
    await quick('nodes', async () => {
      await page.goto(`${origin}${base}/nodes`);
      await page.getByText(`1–50 of ${NODES} nodes`).waitFor();
    });
    await quick('the next page', async () => {
      await tabTo(page, '#later');
      await page.keyboard.press('Enter');
      await page.getByText(`51–100 of ${NODES} nodes`).waitFor();
    });
    same('rows', await page.locator('tbody tr').count(), 50);
    const last = await page.locator('tbody a').last().textContent();
    await quick('a search', async () => {
      await page.locator('#q').fill(last.toUpperCase());
      await page.locator('#by').selectOption('used');
      await page.locator('#q').press('Enter');
      await page.waitForURL(/q=/);
      await page.getByRole('link', { name: last, exact: true }).waitFor();
    });
    await page.getByRole('link', { name: last, exact: true }).click();
    await page.getByRole('heading', { level: 1, name: last }).waitFor();
    await page.getByText(`CN=system:node:${last}`).waitFor();
  });
  await page.context().close();
}

const PAGES = ['/', '/nodes', '/requests', `/requests/${encodeURIComponent(HOSTILE)}`, '/requests/target'];

async function looks() {
  for (const colorScheme of ['light', 'dark']) {
    await point(`${colorScheme}, and as narrow as a phone: nothing stands out to the side`, async () => {
      for (const width of [360, 1100]) {
        const page = await open({ colorScheme, viewport: { width, height: 800 } });
        await enter(page);
        for (const path of PAGES) {
          await page.goto(`${origin}${base}${path}`);
          await live(page);
          const seen = await page.evaluate(() => ({
            over: document.documentElement.scrollWidth - innerWidth,
            dark: getComputedStyle(document.body).backgroundColor === 'rgb(13, 17, 23)',
          }));
          ensure(seen.over <= 0, `${path} stands out by ${seen.over} at ${width}`);
          same(`${path} is dark`, seen.dark, colorScheme === 'dark');
        }
        await page.context().close();
      }
    });
  }
}

async function gone(child) {
  await point('a dashboard that has ended is told, and one that was started again', async () => {
    const page = await open();
    await enter(page);
    await live(page);
    child.kill('SIGTERM');
    await page.locator('#live').filter({ hasText: 'Not live' }).waitFor({ timeout: 15000 });
    const again = await stage.dashboard(port);
    await page.reload();
    await page.getByText('This browser has not come by the address').waitFor();
    await page.goto(again.url);
    await live(page);
    await page.context().close();
  });
}

/** What any dashboard does. */
async function all(secret) {
  await keyboardAndLive(secret);
  await withoutScript();
  await otherPages();
  await manyNodes();
  await looks();
  await point('no page breaks its policy, or asks anybody else', () => same('offences', offences, []));
}

async function door() {
  await point('a wrong token is told, and who has logged out is not known any more', async () => {
    const page = await open();
    await page.goto(`${origin}${base}/`);
    await page.locator('#token').fill('wrong');
    await page.locator('#enter').click();
    await page.getByText('The server does not accept this token').waitFor();
    await enter(page);
    await live(page);
    const beside = await page.context().newPage();
    await beside.goto(`${origin}${base}/nodes`);
    await tabTo(beside, '#leave');
    await beside.keyboard.press('Enter');
    await beside.locator('#token').waitFor();
    await page.locator('#live').filter({ hasText: 'you are not known any more' }).waitFor({ timeout: 15000 });
    await page.reload();
    await page.locator('#token').waitFor();
    await page.context().close();
  });
}

try {
  console.log('everleaf dashboard');
  await stage.up();
  const { child, url } = await stage.dashboard(port);
  enter = (page) => page.goto(url);
  await all(url.split('key=')[1]);
  await gone(child);
  stage.end();

  offences.length = 0;
  console.log('/ui of everleaf up');
  stage = new Stage();
  origin = await stage.up();
  base = '/ui';
  const token = stage.token();
  enter = async (page) => {
    await page.goto(`${origin}${base}`);
    await page.locator('#token').fill(token);
    await page.locator('#enter').click();
    await page.getByRole('heading', { level: 1, name: 'The fleet' }).waitFor();
  };
  await all(token);
  await door();
} catch (error) {
  failed += 1;
  console.error(error);
} finally {
  await browser.close();
  stage.end();
}
console.log(failed === 0 ? 'the dashboard holds' : `${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
