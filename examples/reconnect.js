// Follows a stream over WebSocket and never misses an event silently. For browsers (<script type="module">) and Node 22.
//
//   import { follow } from './reconnect.js';
//   const stop = follow('wss://api.example.com/messages/_streams/all', {
//     onStart: () => load(),              // connected without an id: read the state now, events come meanwhile
//     onEvent: (event) => apply(event),   // each event once, in order
//     onEnd: (code) => leave(code),       // 4401: log in again; 4403, 4404: not to be had any more
//   });
export function follow(url, { onStart = () => {}, onEvent, onEnd = () => {}, lastId = '' }) {
  let socket, timer, attempt = 0, stopped = false;
  const address = () => {
    const to = new URL(url);
    to.searchParams.set('lastEventID', lastId); // also empty: it asks for ids
    return to;
  };
  // A script is not told with which status an upgrade was refused. A plain request is.
  const refusal = async () => {
    const to = address(), request = new AbortController();
    to.protocol = to.protocol.replace('ws', 'http');
    const options = { headers: { Accept: 'text/event-stream' }, credentials: 'include', signal: request.signal };
    const status = await fetch(to, options).then((answer) => answer.status, () => 0);
    request.abort();
    return { 400: 4410, 401: 4401, 403: 4403, 404: 4404, 410: 4410 }[status] ?? 1006;
  };
  const connect = () => {
    let opened = false, closed = false;
    socket = new WebSocket(address());
    socket.onopen = () => { opened = true; if (!lastId) onStart(); };
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      onEvent(event);
      lastId = event._id._data; // only now: what was not handled comes again
      attempt = 0;
    };
    socket.onerror = () => { if (!opened) socket.onclose({}); }; // not every runtime closes what never opened
    socket.onclose = async ({ code }) => {
      if (closed) return;
      closed = true;
      if (!opened) code = await refusal();
      if (stopped) return;
      if ([4401, 4403, 4404].includes(code)) return onEnd(code);
      if (code === 4410) lastId = ''; // history is lost: begin anew, with onStart
      const most = Math.min(30_000, 250 * 2 ** attempt++);
      timer = setTimeout(connect, most * (0.5 + Math.random() / 2)); // jitter: not all clients at once
    };
  };
  connect();
  return () => { stopped = true; clearTimeout(timer); socket.close(); };
}
