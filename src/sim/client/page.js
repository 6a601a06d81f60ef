// The simulated client: asks for what BBB's client asks for, in its order, and tells in the document how it goes.
//
// body[data-state]: loading → settings → waiting (guest) → connected; reconnecting; failed (data-error says where).
// data-steps lists what worked; data-rtt counts round trips; data-sockets counts GraphQL sockets opened so far.
// Query: rtt=<ms> between round trips, retry=<ms> before a reconnect.
'use strict';
(() => {
  const body = document.body.dataset;
  const query = new URLSearchParams(location.search);
  const token = query.get('sessionToken');
  const prefix = location.pathname.slice(0, location.pathname.indexOf('/html5client/'));
  let retry = 10000;
  const steps = [];
  let where = 'start';
  let stopped = false;

  const done = (step) => { steps.push(step); body.steps = steps.join(' '); };
  const fail = (error) => {
    stopped = true;
    body.error = `${where}: ${error.message || error}`;
    body.state = 'failed';
    document.getElementById('where').textContent = `Oops, something went wrong (${body.error})`;
  };
  const fetched = async (step, url, options) => {
    where = step;
    const response = await fetch(url, { credentials: 'include', ...options });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response;
  };
  const json = async (step, url, options) => {
    const content = await (await fetched(step, url, options)).json();
    done(step);
    return content;
  };

  // A GraphQL connection: ask(query) answers once, watch(query, seen) again and again.
  const connect = (url) => new Promise((resolve, reject) => {
    where = 'graphql';
    const socket = new WebSocket(url, 'graphql-transport-ws');
    const waiting = new Map();
    let last = 0;
    let reason = '';
    const send = (message) => socket.send(JSON.stringify(message));
    const ask = (text, seen) => {
      last += 1;
      const id = String(last);
      const answer = new Promise((got, lost) => { waiting.set(id, { got, lost, seen }); });
      send({ id, type: 'subscribe', payload: { query: text, variables: {} } });
      return answer;
    };
    body.sockets = Number(body.sockets || 0) + 1;
    socket.onopen = () => send({
      type: 'connection_init',
      payload: { headers: {
        'X-Session-Token': token,
        'X-ClientSessionUUID': crypto.getRandomValues(new Uint32Array(4)).join('-'),
        'X-ClientType': 'HTML5',
        'X-ClientIsMobile': 'false',
      } },
    });
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type === 'connection_ack') resolve({ ask, socket });
      if (message.type === 'ping') send({ type: 'pong' });
      if (message.type === 'error' && message.id === '-1') reason = message.payload[0].message;
      const asked = waiting.get(message.id);
      if (asked && message.type === 'next') {
        asked.got(message.payload.data);
        if (asked.seen) asked.seen(message.payload.data);
      }
      if (asked && message.type === 'complete') waiting.delete(message.id);
    };
    socket.onclose = (event) => {
      body.close = String(event.code);
      const error = new Error(reason || `socket closed with ${event.code}`);
      waiting.forEach((asked) => asked.lost(error));
      reject(error);
      if (event.code === 4403 || reason) { where = 'graphql'; fail(error); return; }
      if (body.state === 'connected' || body.state === 'reconnecting') {
        body.state = 'reconnecting';
        setTimeout(() => { if (!stopped) again(url); }, retry);
      } else fail(error);
    };
  });

  let graphql = null;
  const again = async (url) => {
    try {
      graphql = await connect(url);
      await graphql.ask('mutation UserJoin { userJoinMeeting }');
      body.state = 'connected';
    } catch (error) { if (!stopped) body.state = 'reconnecting'; }
  };

  const sfu = (url) => new Promise((resolve, reject) => {
    where = 'sfu';
    const socket = new WebSocket(`${url}?sessionToken=${token}`);
    socket.onopen = () => socket.send(JSON.stringify({ id: 'ping' }));
    socket.onmessage = (event) => {
      if (JSON.parse(event.data).id !== 'pong') return;
      body.sfu = 'open';
      resolve(socket);
    };
    socket.onclose = (event) => { body.sfu = 'closed'; reject(new Error(`socket closed with ${event.code}`)); };
    setInterval(() => { if (socket.readyState === 1) socket.send(JSON.stringify({ id: 'ping' })); }, 15000);
  });

  const admitted = (user) => new Promise((resolve) => {
    const look = (data) => {
      if (data.user_current[0].guestStatus === 'ALLOW') resolve(data.user_current[0]);
      else body.state = 'waiting';
    };
    user(look);
  });

  const roundTrip = async (url) => {
    const before = performance.now();
    await (await fetched('rtt', url, { cache: 'no-store' })).text();
    const spent = Math.round(performance.now() - before);
    await graphql.ask(`mutation UpdateConnectionRtt { userSetConnectionRtt(rttInMs: ${spent}) }`);
    body.rtt = Number(body.rtt || 0) + 1;
  };

  const start = async () => {
    if (!token) throw new Error('no session token');
    const index = (await json('api', `${prefix}/bigbluebutton/api`, {
      headers: { 'Content-Type': 'application/json' },
    })).response;
    if (!index.graphqlWebsocketUrl || !index.graphqlApiUrl) throw new Error('no GraphQL address');
    const headers = { 'X-Session-Token': token };
    const meeting = (await json('meetingStaticData', `${index.graphqlApiUrl}/meetingStaticData`, { headers })).meeting[0];
    const settings = meeting.clientSettings.clientSettingsJson.public;
    retry = Number(query.get('retry') || settings.stats.retryInterval);
    body.state = 'settings';
    await json('userMetadata', `${index.graphqlApiUrl}/userMetadata`, { headers });
    const locales = await json('locales', 'locales/');
    await json('locale', `locales/${locales.map((entry) => entry.name).find((name) => name === 'en.json')}`);

    graphql = await connect(index.graphqlWebsocketUrl);
    done('graphql');
    where = 'join';
    await graphql.ask('mutation UserJoin { userJoinMeeting }');
    const user = await admitted((look) => graphql.ask('subscription { user_current { userId } }', look));
    done('join');
    await roundTrip(`${settings.app.bbbWebBase}/rtt-check`);
    done('rtt');

    where = 'slides';
    const pages = (await graphql.ask('subscription { pres_page { urlsJson } }')).pres_page;
    for (const page of pages) await (await fetched('slides', page.urlsJson.svg)).text();
    await (await fetched('slides', pages[0].urlsJson.thumb)).text();
    document.getElementById('slide').src = pages[0].urlsJson.svg;
    done('slides');
    const turn = await json('stuns', `${settings.media.stunTurnServersFetchAddress}?sessionToken=${token}`);
    if (!turn.stunServers) throw new Error('no session');
    await sfu(settings.kurento.wsUrl);
    done('sfu');

    document.title = meeting.name;
    document.getElementById('where').textContent = `You are in ${meeting.name} on ${meeting.bannerText}`;
    document.getElementById('who').textContent = `Hello ${user.name}. People here: ${user.meeting.people}.`;
    body.state = 'connected';
    const pause = Number(query.get('rtt') || settings.stats.rttInterval);
    setInterval(() => roundTrip(`${settings.app.bbbWebBase}/rtt-check`).catch((error) => { body.rttError = error.message; }), pause);
  };
  start().catch(fail);
})();
