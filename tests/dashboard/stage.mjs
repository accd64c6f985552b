// Programs under test, started in a directory that goes away; and what a test says of itself.

import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SIGNER = 'kubernetes.io/kube-apiserver-client';

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Asks until it holds; the last reason why not, if it never does. */
export async function eventually(what, seconds, attempt) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s: ${error.message}`);
      await pause(100);
    }
  }
}

export function ensure(holds, what) {
  if (!holds) throw new Error(what);
}

export function same(what, seen, wanted) {
  ensure(JSON.stringify(seen) === JSON.stringify(wanted), `${what}: ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`);
}

/** A port that nobody listens on now. */
export function freePort() {
  return new Promise((done, failed) => {
    const server = createServer();
    server.on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** A cluster by `everleaf up`, and what runs beside it. */
export class Stage {
  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'everleaf-dashboard-'));
    this.processes = [];
    this.admin = this.path('data/admin.conf');
  }

  path(name) {
    return join(this.directory, name);
  }

  start(name, args) {
    const [out, err] = ['out', 'err'].map((end) => openSync(this.path(`${name}.${end}`), 'w'));
    const child = spawn(process.env.EVERLEAF, args, { cwd: this.directory, stdio: ['ignore', out, err] });
    [out, err].forEach(closeSync);
    this.processes.push(child);
    return child;
  }

  read(name) {
    return readFileSync(this.path(name), 'utf8');
  }

  kubectl(...args) {
    return execFileSync(process.env.KUBECTL, ['--kubeconfig', this.admin, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Where `up` serves its own dashboard. */
  async up() {
    const listen = `127.0.0.1:${await freePort()}`;
    this.start('up', ['up', '--data-dir', 'data', '--no-node', '--listen', listen]);
    await this.ready();
    return `https://${listen}`;
  }

  /** A token of somebody who may do everything. */
  token() {
    this.kubectl('create', 'serviceaccount', 'person');
    this.kubectl('create', 'clusterrolebinding', 'person', '--clusterrole=cluster-admin', '--serviceaccount=default:person');
    return this.kubectl('create', 'token', 'person', '--duration=2h').trim();
  }

  async ready() {
    await eventually('up is ready', 60, () => same('/readyz', this.kubectl('get', '--raw', '/readyz').trim(), 'ok'));
  }

  /** Starts a dashboard; the address that it prints. */
  async dashboard(port) {
    const child = this.start('dashboard', ['dashboard', '--kubeconfig', this.admin, '--listen', `127.0.0.1:${port}`]);
    const url = await eventually('the address of the dashboard', 30, () => {
      const line = this.read('dashboard.out').split('\n').find((one) => one.startsWith('http://'));
      ensure(line, this.read('dashboard.err'));
      return line;
    });
    return { child, url };
  }

  /** So many nodes, each with a certificate of its own. */
  nodes(count) {
    execFileSync(process.env.EVERLEAF, ['bench', '--kubeconfig', this.admin, '--nodes', String(count)], { cwd: this.directory, stdio: 'pipe' });
  }

  /** A request that waits for a person. */
  file(name) {
    const openssl = (...args) => execFileSync(process.env.OPENSSL, args, { cwd: this.directory, stdio: 'pipe' });
    openssl('ecparam', '-genkey', '-name', 'prime256v1', '-noout', '-out', 'key.pem');
    openssl('req', '-new', '-key', 'key.pem', '-subj', '/CN=ann<script>', '-out', 'request.pem');
    const request = readFileSync(this.path('request.pem')).toString('base64');
    const object = {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name },
      spec: { request, signerName: SIGNER, usages: ['digital signature', 'client auth'] },
    };
    writeFileSync(this.path('request.json'), JSON.stringify(object));
    this.kubectl('create', '--validate=false', '-f', this.path('request.json'));
  }

  /** Types of the conditions of a request. */
  conditions(name) {
    const { status } = JSON.parse(this.kubectl('get', 'csr', name, '-o', 'json'));
    return (status.conditions ?? []).map((condition) => condition.type);
  }

  end() {
    this.processes.forEach((child) => child.kill('SIGKILL'));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
