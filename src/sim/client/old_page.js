// The simulated client up to 2.7, after its page: enter, the live connection, TURN servers, SFU, SIP.
'use strict';
(() => {
  const body = document.body.dataset;
  const token = new URLSearchParams(location.search).get('sessionToken');
  const prefix = location.pathname.slice(0, location.pathname.indexOf('/html5client/'));
  const sockets = `${location.protocol.replace('http', 'ws')}//${location.host}${prefix}`;
  const steps = [];
  const done = (step) => { steps.push(step); body.steps = steps.join(' '); };
  const json = async (step, path) => {
    const answer = await (await fetch(`${prefix}/bigbluebutton/api/${path}?sessionToken=${token}`)).json();
    if ((answer.response || answer).returncode === 'FAILED') throw new Error(`${step}: no session`);
    done(step);
  };
  const opened = (step, address, hello) => new Promise((resolve, reject) => {
    const socket = new WebSocket(sockets + address);
    socket.onopen = () => socket.send(hello);
    socket.onmessage = () => { done(step); resolve(); };
    socket.onclose = (event) => { body.close = String(event.code); reject(new Error(`${step}: closed with ${event.code}`)); };
  });
  // The lobby's page knows no prefix: it asks at the root of its origin.
  const lobby = async () => {
    body.state = 'waiting';
    for (;;) {
      const answer = await fetch(`${location.origin}/bigbluebutton/api/guestWait?sessionToken=${token}&redirect=false`);
      const told = (await answer.json()).response;
      if (told.returncode !== 'SUCCESS' || told.guestStatus === 'DENY') throw new Error(`lobby: ${told.messageKey}`);
      if (told.guestStatus === 'ALLOW') { location.href = told.url; return; }
      body.polls = String(Number(body.polls || 0) + 1);
      await new Promise((resolve) => { setTimeout(resolve, Number(body.poll)); });
    }
  };
  const start = async () => {
    if (location.pathname.endsWith('/guestWait')) { await lobby(); return; }
    await json('enter', 'enter');
    await opened('ddp', '/html5client/sockjs/000/simulated/websocket', '{"msg":"ping"}');
    await json('stuns', 'stuns');
    await opened('sfu', `/bbb-webrtc-sfu?sessionToken=${token}`, '{"id":"ping"}');
    await opened('sip', `/ws?sessionToken=${token}`, 'OPTIONS');
    body.state = 'connected';
  };
  start().catch((error) => { body.error = error.message; body.state = 'failed'; });
})();
