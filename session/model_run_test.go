package session

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// scenario is who does what, and what may go wrong meanwhile.
type scenario struct {
	name   string
	store  bool // sessions live in the store, else in cookies
	server rotation
	left   time.Duration // what the access token has to live when it begins
	older  bool          // there was a refresh before, and who is late has the session from before it
	actors []part

	troubles int // how many of those below may happen in one run
	crash    bool
	storeErr bool // a call of the store fails, and had its effect or not
	fault    bool // the server answers 503, or its answer is lost
	apart    bool // a process does not reach the store until another moves, or for five seconds
	slows    int  // how often the server is slow: time passes while calls are under way
	long     bool // and that for longer than a lease lasts, with all renewals in it; else up to the next
	cancel   bool // requests go away
}

// part is an actor of a scenario.
type part struct {
	name    string
	replica int
	does    deed
	subject string // whose request it is, alice if empty
	loads   bool   // the session, as a part of what is explored; else it has it when it begins
	late    bool   // it has the session from before the last refresh
}

// deed is what a request is for.
type deed struct {
	do        func(w *world, a *actor, r *http.Request) error
	refreshes bool
	ends      bool // sessions
	saves     bool // an attribute
}

var (
	refreshing      = deed{do: refresh, refreshes: true}
	loggingOut      = deed{do: logOut, ends: true}
	loggedOutByPeer = deed{do: logOutByToken, ends: true}
	saving          = deed{do: save, saves: true}
)

func refresh(w *world, a *actor, r *http.Request) (err error) {
	s := a.sess
	if s == nil {
		if s, err = a.at.m.Load(r); err != nil {
			return err
		}
	}
	a.got, err = a.at.m.fresh(draft{}, r, w.server, s, false)
	return err
}

func logOut(w *world, a *actor, r *http.Request) error {
	s := a.sess
	if s == nil {
		var err error
		if s, err = a.at.m.LoadToEnd(r); err != nil {
			return err
		}
	}
	last, err := a.at.m.End(draft{}, r, s)
	if err != nil {
		return err
	}
	return w.server.Revoke(a.ctx, last)
}

func logOutByToken(w *world, a *actor, r *http.Request) error {
	now := time.Now()
	return a.at.m.endByLogoutToken(r.Context(), w.server, &client.LogoutToken{
		Issuer: w.server.Issuer(), SID: "sid-alice", ID: "jti-1", ReceivedAt: now, ReplayableUntil: now.Add(5 * time.Minute),
	})
}

func save(_ *world, a *actor, r *http.Request) error {
	s, err := a.sess.With("colour", "blue")
	if err == nil {
		_, err = a.at.m.Save(draft{}, r, s)
	}
	return err
}

// run is one schedule, within a bubble.
func (s *scenario) run(x *explorer) *world {
	w := s.begin(x)
	defer w.goHome()
	if !w.explore() {
		return w
	}
	w.finish()
	return w
}

// begin makes the world as it is when the requests come.
func (s *scenario) begin(x *explorer) *world {
	w := &world{
		s: s, x: x, store: modelStore{records: map[string]modelRecord{}}, sessions: map[string]*modelSession{},
		news: make(chan struct{}, 1), free: true,
	}
	w.begins.Store(true)
	w.server = &modelServer{w: w, mode: s.server, grants: map[string]*modelGrant{}}
	for n := range 2 {
		r := &replica{n: n}
		cfg := Config{Keys: [][]byte{[]byte(strings.Repeat("k", 32))}, Origin: "https://app.example", IdleTimeout: 12 * time.Hour, OnEvent: w.event}
		if s.store {
			cfg.Store = view{w, r}
		} else {
			cfg.Coordination = view{w, r}
		}
		m, err := New(cfg)
		if err != nil {
			panic(err)
		}
		r.m = m
		w.replicas = append(w.replicas, r)
	}
	w.probe = newVault(direct{&w.store}, w.replicas[0].m.shared.stored, time.Now)
	for _, p := range s.actors {
		w.logIn(p.subjectName())
	}
	for i, p := range s.actors {
		a := w.newActor(p.name, w.replicas[p.replica])
		a.n, a.group, a.logsOut, a.saves = i, p.group(), p.does.ends, p.does.saves && s.store
		if p.late {
			a.sess = w.mustLoad(a, p.subjectName())
		}
		w.actors = append(w.actors, a)
	}
	if s.older {
		w.begins.Store(false)
		time.Sleep(modelLife + time.Second)
		a := w.newActor("earlier", w.replicas[0])
		a.sess = w.mustLoad(a, "alice")
		if err := refresh(w, a, w.request(a, "alice")); err != nil {
			panic(err)
		}
	}
	time.Sleep(modelLife - s.left)
	for i, p := range s.actors {
		if a := w.actors[i]; a.sess == nil && !p.loads {
			a.sess = w.mustLoad(a, p.subjectName())
		}
	}
	w.begins.Store(false)
	w.free = false
	for i, p := range s.actors {
		a := w.actors[i]
		r := w.request(a, p.subjectName())
		go func() {
			defer func() { a.done = true }()
			w.gate(&op{who: a, role: "start", kind: opStart})
			a.err = p.does.do(w, a, r)
		}()
	}
	synctest.Wait()
	return w
}

// group is the same for requests that share anything in a process but what they have in common with all.
func (p *part) group() int {
	switch {
	case !p.does.refreshes:
		return 1
	case p.subject != "":
		return 2
	}
	return 0
}

func (p *part) subjectName() string {
	if p.subject == "" {
		return "alice"
	}
	return p.subject
}

func (w *world) newActor(name string, at *replica) *actor {
	a := &actor{name: name, at: at, n: 100}
	a.ctx, a.cancel = context.WithCancel(context.WithValue(context.Background(), actorKey{}, a))
	return a
}

// request is one with the cookie of the login, which is the oldest that there is.
func (w *world) request(a *actor, subject string) *http.Request {
	r, err := http.NewRequestWithContext(a.ctx, http.MethodGet, "https://app.example/", nil)
	if err != nil {
		panic(err)
	}
	if ms := w.of(subject); ms != nil {
		r.Header["Cookie"] = ms.cookie
	}
	return r
}

func (w *world) mustLoad(a *actor, subject string) *Session {
	s, err := a.at.m.Load(w.request(a, subject))
	if err != nil {
		panic(err)
	}
	return s
}

func (w *world) of(subject string) *modelSession {
	for _, ms := range w.sessions {
		if ms.subject == subject {
			return ms
		}
	}
	return nil
}

func (w *world) logIn(subject string) {
	if w.of(subject) != nil {
		return
	}
	t, first := w.server.grant(subject).mint("")
	first.delivered, first.stored = true, true
	t.IDToken = &client.IDToken{SID: "sid-" + subject}
	h, a := draft{}, w.newActor("login", w.replicas[0])
	s, err := w.replicas[0].m.createFor(h, w.request(a, subject), w.server.Issuer(), w.server.ClientID(), nil, t)
	if err != nil {
		panic(err)
	}
	key := sessionKey(s.rec.id)
	ms := &modelSession{subject: subject, key: key, first: string(t.RefreshToken), tokens: map[uint64]string{1: string(t.AccessToken)}}
	for _, l := range h["Set-Cookie"] {
		pair, _, _ := strings.Cut(l, ";")
		ms.cookie = append(ms.cookie, pair)
	}
	w.sessions[string(key[:])] = ms
	if _, _, err := w.probe.get(a.ctx, &key, &ms.last); err != nil {
		panic(err)
	}
}

// explore lets the scheduler choose until all requests are answered and nothing goes on behind them. It reports false if all
// that can follow was seen before.
func (w *world) explore() bool {
	for quiet := 0; ; {
		moves := w.moves()
		if len(moves) == 0 {
			if w.settled() {
				return true
			}
			if quiet++; quiet > 3 {
				w.fail("liveness", "somebody waits for ever")
				return true
			}
			w.pass(30 * time.Second) // nothing else can happen
			continue
		}
		quiet = 0
		i := w.x.choose(moves)
		if i < 0 {
			return false
		}
		moves[i].do()
	}
}

// settled reports whether nobody has anything left to do.
func (w *world) settled() bool {
	for _, a := range w.actors {
		if !a.at.dead && !a.done {
			return false
		}
	}
	for _, r := range w.replicas {
		if !r.dead && !r.m.shared.work.isIdle() {
			return false
		}
	}
	return true
}

func (w *work) isIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n == 0
}

// event hears what operators hear.
func (w *world) event(_ context.Context, e client.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case EventRefreshInDoubt:
		w.told, w.doubted = true, true
	case EventGrantLost, EventReuseSuspected, client.EventSessionEnded:
		w.told = true
	}
}

// finish is what comes when all is over: requests to each process that lives, at once, after the back-off, and after the access
// token has died.
func (w *world) finish() {
	w.mu.Lock()
	w.free = true
	w.mu.Unlock()
	for _, later := range []time.Duration{0, 5 * time.Second, modelLife + time.Minute} {
		time.Sleep(later)
		for _, r := range w.replicas {
			if r.dead {
				continue
			}
			for _, ms := range w.sessions {
				w.comeBack(r, ms)
			}
		}
	}
	for _, r := range w.replicas {
		if r.dead {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
		if err := r.m.Shutdown(ctx); err != nil {
			w.fail("liveness", "work goes on for ever")
		}
		cancel()
	}
	w.judge()
}

// comeBack is a request with the oldest cookie, by somebody who tries again as often as it is said.
func (w *world) comeBack(r *replica, ms *modelSession) {
	const tries = 8
	for range tries {
		a := w.newActor("later", r)
		err := refresh(w, a, w.request(a, ms.subject))
		var e *client.Error
		switch {
		case err == nil && w.server.valid(ms.subject, string(a.got.AccessToken())):
			ms.lived(w)
			return
		case err == nil:
			ms.lost = append(ms.lost, "it got a dead access token")
			return
		case !errors.As(err, &e):
			w.fail("errors", "%v", err)
			return
		case e.Action == client.ActionLogin:
			ms.lost = append(ms.lost, e.Error())
			return
		}
		time.Sleep(max(e.RetryAfter, time.Second))
	}
	ms.lost = append(ms.lost, "it is told to come back for ever")
}

// goHome ends what is left, as a bubble wants it.
func (w *world) goHome() {
	w.mu.Lock()
	w.over = true
	left := append(w.parked, w.buried...)
	w.parked, w.buried = nil, nil
	w.mu.Unlock()
	for _, a := range w.actors {
		a.cancel()
	}
	for _, o := range left {
		o.turn <- grantKill
	}
	time.Sleep(modelEnd) // whoever waits for a moment finds at the gate that it is over
}
