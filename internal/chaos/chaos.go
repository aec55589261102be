//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

// Config says what is disturbed, and for how long.
type Config struct {
	Dir       string // for logs and the store's data; a user that PostgreSQL may run as has to be able to reach it
	Store     string // redis or postgres
	Cookie    bool   // sessions live in cookies, and the store only coordinates
	Processes int
	Sessions  int
	Lifetime  time.Duration // of an access token
	Grace     time.Duration // of the authorization server; 0: it revokes a family at once
	Pace      time.Duration // a browser makes a request so often, on average
	Duration  time.Duration // of the disturbances; what settles afterwards comes on top
	KillEvery time.Duration
	Seed      uint64
	// PowerLoss makes the crashes of a Redis those of its machine, with appendfsync everysec: what it wrote in its last second is gone.
	PowerLoss bool
	Progress  io.Writer // a line every few seconds; nil: none
}

const (
	// latency of the authorization server, undisturbed.
	latency = 15 * time.Millisecond
	// settling bounds the time after the disturbances in which every session has to be served again. A session that has failed a few
	// times waits for seconds.
	settling = 75 * time.Second
)

// run is a run under way.
type run struct {
	cfg       Config
	server    *authority
	store     backend
	dir       string
	processes []*member
	browsers  []*browser

	counts counts

	mu         sync.Mutex
	random     *rand.Rand
	losses     []loss
	killed     map[string]time.Time // runs of processes
	blackouts  []blackout
	odd        []string // answers that nobody expected, a few
	waits      []time.Duration
	processErr error
}

type counts struct {
	requests, served, later, broken, foreign, tasteless, dead, kills, pauses, restarts, relogins atomic.Int64
}

// loss is a user who was logged out.
type loss struct {
	at      time.Time
	browser int
	grant   string // that the session came of
	status  int
}

// blackout is a time in which the store did not answer.
type blackout struct{ from, to time.Time }

// member is a process that is started again when it is killed.
type member struct {
	assignment assignment
	process    *process
}

// Run starts everything, disturbs it, and accounts for what became of the sessions. The error is that something of the arrangement itself
// failed, such as a process that does not start.
func Run(ctx context.Context, cfg Config) (*Account, error) {
	r := &run{cfg: cfg, dir: cfg.Dir, random: rand.New(rand.NewPCG(cfg.Seed, 2)), killed: map[string]time.Time{}}
	defer r.stop()
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	if err := r.logIn(ctx); err != nil {
		return nil, err
	}
	r.disturb(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	stuck := r.settle(ctx)
	if r.processErr != nil {
		return nil, r.processErr
	}
	for _, m := range r.processes {
		m.process.stop()
	}
	return r.account(stuck)
}

func (r *run) start(ctx context.Context) (err error) {
	if r.store == nil {
		if r.store, err = startBackend(ctx, r.cfg, filepath.Join(r.dir, "store")); err != nil {
			return err
		}
	}
	if err := migrate(ctx, r.store.URL()); err != nil {
		return err
	}
	var users []authtest.User
	for i := range r.cfg.Sessions {
		users = append(users, authtest.User{Subject: fmt.Sprintf("user-%d", i+1)})
	}
	r.server = newAuthority(users, r.cfg.Lifetime, r.cfg.Grace, latency, r.cfg.Seed)
	a := assignment{
		Role: roleServe, Issuer: r.server.Issuer(), Keys: [][]byte{session.GenerateKey()}, Cookie: r.cfg.Cookie, Store: r.store.URL(), Grace: r.cfg.Grace,
	}
	var addresses []string
	for i := range r.cfg.Processes {
		if a.Listen, err = freeAddress(); err != nil {
			return err
		}
		a.Process, a.EventLog = i, filepath.Join(r.dir, fmt.Sprintf("events.%d", i))
		p, err := start(a)
		if err != nil {
			return err
		}
		r.processes, addresses = append(r.processes, &member{assignment: a, process: p}), append(addresses, a.Listen)
	}
	through := newProxy(addresses)
	for i, u := range users {
		r.browsers = append(r.browsers, newBrowser(i+1, u.Subject, r.server, through))
	}
	return nil
}

func (r *run) stop() {
	for _, m := range r.processes {
		m.process.kill()
	}
	if r.server != nil {
		r.server.Close()
	}
	if r.store != nil {
		_ = r.store.Resume()
		r.store.Stop()
	}
}

// logIn logs everybody in, before anything is disturbed.
func (r *run) logIn(ctx context.Context) error {
	queue, failed := make(chan *browser), make(chan error, 8)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for b := range queue {
				if err := b.logIn(ctx); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for _, b := range r.browsers {
		queue <- b
	}
	close(queue)
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// disturb lets everything loose for the duration.
func (r *run) disturb(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Duration)
	defer cancel()
	var wg sync.WaitGroup
	for _, b := range r.browsers {
		wg.Go(func() { r.live(ctx, b) })
	}
	wg.Go(func() { r.server.disturb(ctx) })
	wg.Go(func() { r.disturbProcesses(ctx) })
	wg.Go(func() { r.disturbStore(ctx) })
	wg.Go(func() { r.tell(ctx) })
	wg.Wait()
}

// live is a browser's life: a request now and then, sometimes two at once, as two tabs do, and sometimes one that it does not
// wait for.
func (r *run) live(ctx context.Context, b *browser) {
	for r.sleepAbout(ctx, r.cfg.Pace) {
		// What has begun may end: a request that the end of the run cuts off would say nothing.
		asking := context.WithoutCancel(ctx)
		switch kind := r.chance(); {
		case kind < .1:
			var wg sync.WaitGroup
			var both [2]answer
			for i := range both {
				wg.Go(func() { both[i] = b.ask(asking) })
			}
			wg.Wait()
			lost := r.take(b, both[0])
			if r.take(b, both[1]) || lost {
				r.lose(ctx, b, both[0], both[1])
			}
		case kind < .15:
			gone, cancel := context.WithTimeout(asking, time.Duration(r.chance()*40*float64(time.Millisecond)))
			a := b.ask(gone)
			cancel()
			if r.take(b, a) {
				r.lose(ctx, b, a)
			}
		default:
			if a := b.ask(asking); r.take(b, a) {
				r.lose(ctx, b, a)
			}
		}
	}
}

// take counts an answer and reports whether it says that the user is logged out.
func (r *run) take(b *browser, a answer) (lost bool) {
	c := &r.counts
	c.requests.Add(1)
	if a.verdict == served && a.grant != b.grant {
		a.verdict = foreign
	}
	switch a.verdict {
	case served:
		c.served.Add(1)
		if a.dead {
			c.dead.Add(1)
		}
	case later:
		c.later.Add(1)
	case broken:
		c.broken.Add(1)
	case loggedOut:
		return true
	case foreign:
		c.foreign.Add(1)
	case tasteless:
		c.tasteless.Add(1)
		r.mu.Lock()
		if len(r.odd) < 10 {
			r.odd = append(r.odd, fmt.Sprintf("status %d, code %q", a.status, a.code))
		}
		r.mu.Unlock()
	}
	if a.verdict != broken {
		r.mu.Lock()
		r.waits = append(r.waits, a.took)
		r.mu.Unlock()
	}
	return false
}

// lose enters a loss, and logs the user in again, so that there is somebody left to disturb.
func (r *run) lose(ctx context.Context, b *browser, answers ...answer) {
	l := loss{at: time.Now(), browser: b.number, grant: b.grant}
	for _, a := range answers {
		if a.verdict == loggedOut {
			l.status = a.status
		}
	}
	r.mu.Lock()
	r.losses = append(r.losses, l)
	r.mu.Unlock()
	for sleep(ctx, 500*time.Millisecond) {
		if b.logIn(ctx) == nil {
			r.counts.relogins.Add(1)
			return
		}
	}
	b.http = nil // nobody logs in any more
}

// settle waits until every session is served again, without disturbances, and returns the browsers whose is not.
func (r *run) settle(ctx context.Context) (stuck []int) {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, b := range r.browsers {
		if b.http == nil {
			continue
		}
		wg.Go(func() {
			for r.sleepAbout(ctx, time.Second) {
				a := b.ask(context.WithoutCancel(ctx))
				if r.take(b, a) {
					r.mu.Lock()
					r.losses = append(r.losses, loss{at: time.Now(), browser: b.number, grant: b.grant, status: a.status})
					r.mu.Unlock()
					return
				}
				if a.verdict == served {
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			stuck = append(stuck, b.number)
		})
	}
	wg.Wait()
	return stuck
}

// tell writes how it goes.
func (r *run) tell(ctx context.Context) {
	if r.cfg.Progress == nil {
		return
	}
	for began := time.Now(); sleep(ctx, 5*time.Second); {
		stats, c := r.server.Stats(), &r.counts
		r.mu.Lock()
		lost := len(r.losses)
		r.mu.Unlock()
		fmt.Fprintf(r.cfg.Progress, "%4.0f s: %d requests, %d served, %d told to wait, %d broken; %d rotations, %d kills, store %d pauses %d crashes; sessions lost %d, families revoked %d, foreign %d\n",
			time.Since(began).Seconds(), c.requests.Load(), c.served.Load(), c.later.Load(), c.broken.Load(), stats.Rotations, c.kills.Load(), c.pauses.Load(), c.restarts.Load(),
			lost, len(stats.Reused), c.foreign.Load())
	}
}

func (r *run) chance() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.random.Float64()
}

// sleepAbout sleeps for half to one and a half times d.
func (r *run) sleepAbout(ctx context.Context, d time.Duration) bool {
	return sleep(ctx, d/2+time.Duration(r.chance()*float64(d)))
}

// Check fills in what is not set, and reports what makes no sense.
func (c *Config) Check() error {
	if c.Store != "redis" && c.Store != "postgres" {
		return errors.New("chaos: the store is redis or postgres")
	}
	if c.PowerLoss && c.Store != "redis" {
		return errors.New("chaos: only a Redis loses what it wrote")
	}
	info, err := os.Stat(c.Dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("chaos: not a folder")
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&c.Lifetime, 3 * time.Second}, {&c.Pace, 2 * time.Second}, {&c.KillEvery, 2 * time.Second}, {&c.Duration, time.Minute}} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if c.Processes == 0 {
		c.Processes = 4
	}
	if c.Sessions == 0 {
		c.Sessions = 2000
	}
	return nil
}
