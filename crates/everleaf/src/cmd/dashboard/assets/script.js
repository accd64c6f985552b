'use strict';
// Keeps the page live: when the server says that something has changed, the page is fetched again,
// and what is marked data-live is replaced where it differs. All of it works without this, too.
(() => {
  const state = document.getElementById('live');
  // At most one fetch in so many milliseconds.
  const PAUSE = 1000;
  let source = null;
  let shown = document.getElementById('moment').dataset.number;
  let wanted = shown;
  let fetching = false;
  let timer = 0;

  const say = (text) => {
    if (state.textContent !== text) state.textContent = text;
  };

  // Somebody is writing in it, or has chosen something in it.
  const isInUse = (part) => {
    if (getSelection().type === 'Range' && part.contains(getSelection().anchorNode)) return true;
    return [...part.querySelectorAll('input[type=text]')].some((input) => input.value !== input.defaultValue);
  };

  const replace = (old, fresh) => {
    if (old.isEqualNode(fresh) || isInUse(old)) return;
    const active = document.activeElement;
    const held = old.contains(active) ? active : null;
    old.replaceWith(document.adoptNode(fresh));
    if (!held) return;
    const same = held.id
      ? document.getElementById(held.id)
      : [...fresh.querySelectorAll('a')].find((link) => link.href === held.href);
    if (same) same.focus({ preventScroll: true });
  };

  const take = (page) => {
    if (!page || !page.getElementById('moment')) return;
    shown = page.getElementById('moment').dataset.number;
    for (const old of document.querySelectorAll('[data-live][id]')) {
      const fresh = page.getElementById(old.id);
      if (fresh) replace(old, fresh);
    }
  };

  const look = () => {
    timer = 0;
    if (fetching || wanted === shown) return;
    fetching = true;
    const request = new XMLHttpRequest();
    request.open('GET', location.pathname + location.search);
    request.responseType = 'document';
    request.timeout = 60000;
    request.onloadend = () => {
      fetching = false;
      if (request.status === 401 || request.status === 403) {
        close();
        say(state.dataset.stranger);
        return;
      }
      take(request.response);
      if (wanted === null) wanted = shown;
      if (wanted !== shown) later();
    };
    request.send();
  };

  const later = () => {
    if (!timer) timer = setTimeout(look, PAUSE);
  };

  const close = () => {
    if (source) source.close();
    source = null;
  };

  const open = () => {
    if (source) return;
    source = new EventSource(state.dataset.events);
    source.onopen = () => say('● Live');
    source.onmessage = (event) => {
      wanted = event.data;
      if (wanted !== shown) later();
    };
    source.onerror = () => {
      say('▲ Not live: the dashboard does not answer. What is shown may be old.');
      // It was answered, and refused: the page itself may say why.
      if (source && source.readyState === EventSource.CLOSED) {
        wanted = null;
        later();
      }
    };
  };

  // A browser has few connections for one server: what nobody sees needs none.
  const follow = () => (document.hidden ? close() : open());
  document.addEventListener('visibilitychange', follow);
  addEventListener('pagehide', close);
  addEventListener('pageshow', follow);
  follow();
})();
