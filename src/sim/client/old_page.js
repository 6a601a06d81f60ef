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
  const start = async () => {
    if (location.pathname.endsWith('/guestWait')) { body.state = 'waiting'; return; }
    await json('enter', 'enter');
    await opened('ddp', '/html5client/sockjs/000/simulated/websocket', '{"msg":"ping"}');
    await json('stuns', 'stuns');
    await opened('sfu', `/bbb-webrtc-sfu?sessionToken=${token}`, '{"id":"ping"}');
    await opened('sip', `/ws?sessionToken=${token}`, 'OPTIONS');
    body.state = 'connected';
  };
  start().catch((error) => { body.error = error.message; body.state = 'failed'; });
})();
