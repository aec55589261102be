package session

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
)

// maxCalls bounds the refreshes that this process has under way at one server: a server that hangs
// holds up no more. maxQueue is for how long one waits for its turn.
const (
	maxCalls = 64
	maxQueue = 5 * time.Second
)

// work is what goes on when requests are gone.
type work struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n is 0; nil if nobody asks
}

func (w *work) start(f func()) {
	w.mu.Lock()
	w.n++
	w.mu.Unlock()
	go func() {
		defer func() {
			w.mu.Lock()
			if w.n--; w.n == 0 && w.idle != nil {
				close(w.idle)
				w.idle = nil
			}
			w.mu.Unlock()
		}()
		f()
	}()
}

// wait returns when nothing goes on, or ctx is done.
func (w *work) wait(ctx context.Context) error {
	w.mu.Lock()
	if w.n == 0 {
		w.mu.Unlock()
		return nil
	}
	if w.idle == nil {
		w.idle = make(chan struct{})
	}
	idle := w.idle
	w.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown waits for refreshes and revocations that are under way, and for results that a store has not taken yet: to end
// the process before would lose them. Call it when the last request has been answered. It returns ctx.Err() if ctx is done first.
func (m *Manager) Shutdown(ctx context.Context) error { return m.shared.work.wait(ctx) }

// Know tells the manager of clients before their first request: whoever finds that a session of theirs was ended by others
// revokes its tokens with them. Package middleware does it.
func (m *Manager) Know(clients ...*client.Client) {
	for _, c := range clients {
		m.shared.servers.all.Store(registrationOf(c), server(c)) // the last one has the newest secret
	}
}

// registration names a client at its server.
type registration struct{ issuer, clientID string }

func registrationOf(srv server) registration { return registration{srv.Issuer(), srv.ClientID()} }

// calls bounds the calls to each server.
type calls struct{ rooms sync.Map } // registration to chan struct{}

func (c *calls) room(srv server) chan struct{} {
	key := registrationOf(srv)
	if room, ok := c.rooms.Load(key); ok {
		return room.(chan struct{})
	}
	room, _ := c.rooms.LoadOrStore(key, make(chan struct{}, maxCalls))
	return room.(chan struct{})
}

// tryEnter returns how to leave, or nil if there is no room.
func (c *calls) tryEnter(srv server) (leave func()) {
	room := c.room(srv)
	select {
	case room <- struct{}{}:
		return func() { <-room }
	default:
		return nil
	}
}

// enter waits for room. Failure: client.ErrTimeout, nothing was sent.
func (c *calls) enter(ctx context.Context, srv server) (leave func(), err error) {
	room := c.room(srv)
	ctx, cancel := context.WithTimeout(ctx, maxQueue)
	defer cancel()
	select {
	case room <- struct{}{}:
		return func() { <-room }, nil
	case <-ctx.Done():
		return nil, later(client.NewError(client.ErrTimeout, "busy", nil), time.Second)
	}
}

// servers are the clients that this process has seen, for what happens to a session when none is at hand.
type servers struct{ all sync.Map } // registration to server

func (s *servers) remember(srv server) {
	key := registrationOf(srv)
	if _, ok := s.all.Load(key); !ok {
		s.all.Store(key, srv)
	}
}

// of returns the client that a session was made with, nil if this process has not seen it.
func (s *servers) of(rec *record) server {
	srv, _ := s.all.Load(registration{rec.issuer, rec.clientID})
	found, _ := srv.(server)
	return found
}

// unsettled are results of refreshes that the store has not taken yet.
type unsettled struct {
	mu  sync.Mutex
	all map[flightKey]*tokens // nil: there are none, and that is the result
}

func (u *unsettled) put(key flightKey, t *tokens) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[flightKey]*tokens{}
	}
	u.all[key] = t
}

func (u *unsettled) drop(key flightKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.all, key)
}

func (u *unsettled) get(key flightKey) (*tokens, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	t, ok := u.all[key]
	return t, ok
}

// probeAge is for how long what a probe said holds.
const probeAge = time.Second

// probeTimeout bounds one.
const probeTimeout = 5 * time.Second

// probes ask servers whether they answer, one at a time each.
type probes struct{ all sync.Map } // registration to *health

// health is what a server said last.
type health struct {
	asking chan struct{} // has room for one
	at     time.Time
	last   *client.Error // nil: it answers
}

func (p *probes) ask(ctx context.Context, srv server) *client.Error {
	found, _ := p.all.LoadOrStore(registrationOf(srv), &health{asking: make(chan struct{}, 1)})
	one := found.(*health)
	one.asking <- struct{}{}
	defer func() { <-one.asking }()
	if !one.at.IsZero() && time.Since(one.at) < probeAge {
		return one.last
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	one.last = nil
	if err := reachable(ctx, srv); err != nil {
		one.last = client.NewError(client.ErrTransport, "server", err)
	}
	one.at = time.Now()
	return one.last
}

// reachable calls the server; a panic of a hook or a transport is a failure.
func reachable(ctx context.Context, srv server) (err error) {
	defer func() {
		if recover() != nil {
			err = client.NewError(client.ErrTransport, "panic", nil)
		}
	}()
	return srv.Reachable(ctx)
}
