//go:build unix

package chaos

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

// Storm is requests that come at once for sessions whose access token is spent, to a server that takes its time, rotates, and
// revokes the family of a refresh token that comes back.
type Storm struct {
	Name      string
	Way       string
	Processes int
	Requests  int    // of a burst, over all processes
	Bursts    int    // each on a session of its own
	Cookie    bool   // sessions live in cookies
	Store     string // URL; empty: the process's memory
	Latency   time.Duration
	Fresh     bool // the access token is not spent: what the reads alone take
}

// Storms are all kinds that are of interest. A URL that is empty leaves out what needs it.
func Storms(redis, postgres string) []Storm {
	ours := func(name string, processes int, cookie bool, store string) Storm {
		return Storm{Name: name, Way: wayOurs, Processes: processes, Cookie: cookie, Store: store}
	}
	storms := []Storm{
		{Name: "1 process, the server's call alone", Way: wayFloor, Processes: 1},
		ours("1 process, cookie", 1, true, ""),
		ours("1 process, store in memory", 1, false, ""),
	}
	for _, store := range []struct{ name, url string }{{"Redis", redis}, {"PostgreSQL", postgres}} {
		if store.url == "" {
			continue
		}
		storms = append(storms,
			Storm{Name: "4 processes, reads of " + store.name + " alone", Way: wayOurs, Processes: 4, Store: store.url, Fresh: true},
			ours("4 processes, cookie and "+store.name, 4, true, store.url),
			ours("4 processes, store on "+store.name, 4, false, store.url))
	}
	if redis != "" {
		storms = append(storms,
			Storm{Name: "1 process, " + wayNaive, Way: wayNaive, Processes: 1, Store: redis},
			Storm{Name: "4 processes, " + wayNaive, Way: wayNaive, Processes: 4, Store: redis},
			Storm{Name: "4 processes, " + wayReuse, Way: wayReuse, Processes: 4, Store: redis})
	}
	return storms
}

// Peer reports whether a storm is there for scale only, and is not held to what is promised.
func (s *Storm) Peer() bool { return s.Way != wayOurs }

// Burst is what became of one.
type Burst struct {
	Calls   int  // of the token endpoint
	Answers int  // requests that were answered with an access token
	Tokens  int  // different ones among them
	Foreign int  // answers from somebody else's session, or with a token that is not of this session's grant
	Revoked bool // the family
	Waits   []time.Duration
}

// Right reports whether a burst was one call and an answer for everybody, with nothing lost.
func (b *Burst) Right(s *Storm) bool {
	calls := 1
	if s.Fresh {
		calls = 0
	}
	return b.Calls == calls && b.Answers == s.Requests && b.Tokens == 1 && b.Foreign == 0 && !b.Revoked
}

// barrier is how far ahead a burst is announced, so that all processes have heard of it.
const barrier = 8 * time.Millisecond

// Run starts the processes and makes the bursts. One more before them, which is not counted, opens connections.
func (s *Storm) Run(ctx context.Context) (bursts []Burst, err error) {
	var users []authtest.User
	for i := range s.Bursts + 1 {
		users = append(users, authtest.User{Subject: fmt.Sprintf("user-%d", i)})
	}
	as := authtest.NewServer(authtest.Config{Clients: []authtest.Client{registration()}, Users: users})
	defer as.Close()
	if err := migrate(ctx, s.Store); err != nil {
		return nil, err
	}
	a := assignment{Role: s.Way, Issuer: as.Issuer(), Keys: [][]byte{session.GenerateKey()}, Cookie: s.Cookie, Store: s.Store}
	var processes []*process
	defer func() {
		for _, p := range processes {
			p.stop()
		}
	}()
	for i := range s.Processes {
		a.Process = i
		p, err := start(a)
		if err != nil {
			return nil, err
		}
		processes = append(processes, p)
	}
	// The floor keeps nothing: who makes its sessions knows them.
	var sessions []string
	make := order{Make: s.Bursts + 1, Spent: !s.Fresh}
	for _, u := range users {
		make.Subjects = append(make.Subjects, u.Subject)
	}
	if err := processes[0].ask(make, &sessions); err != nil {
		return nil, err
	}
	as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Delay: s.Latency})
	for i, id := range sessions {
		b, err := s.burst(as, processes, id, users[i].Subject)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			bursts = append(bursts, b)
		}
		if ctx.Err() != nil {
			return bursts, ctx.Err()
		}
	}
	return bursts, nil
}

func (s *Storm) burst(as *authtest.Server, processes []*process, id, subject string) (b Burst, err error) {
	calls, reused := as.Stats().Refreshes, len(as.Stats().Reused)
	o := order{Session: id, Requests: s.Requests / s.Processes, At: time.Now().Add(barrier).UnixNano()}
	for _, p := range processes {
		if err := p.tell(o); err != nil {
			return b, err
		}
	}
	var tokens []string
	for _, p := range processes {
		var w wave
		if err := p.told(&w); err != nil {
			return b, err
		}
		b.Answers += len(w.Waits)
		b.Waits = append(b.Waits, w.Waits...)
		tokens = append(tokens, w.Tokens...)
		for _, whose := range w.Subjects {
			if whose != "" && whose != subject {
				b.Foreign++
			}
		}
	}
	slices.Sort(tokens)
	tokens = slices.Compact(tokens)
	b.Tokens = len(tokens)
	for _, t := range tokens {
		if g, ok := as.Grant(t); !ok || g.Subject != subject {
			b.Foreign++
		}
	}
	stats := as.Stats()
	b.Calls, b.Revoked = stats.Refreshes-calls, len(stats.Reused) > reused
	return b, nil
}

// Summary is a storm in one line.
type Summary struct {
	Wrong, Revoked    int     // bursts
	Calls             float64 // of a burst, mean
	Failed            float64 // requests of a burst, mean
	P50, P99, Slowest time.Duration
}

// Summarize adds bursts up.
func Summarize(bursts []Burst, of *Storm) (s Summary) {
	var waits []time.Duration
	for _, b := range bursts {
		if !b.Right(of) {
			s.Wrong++
		}
		if b.Revoked {
			s.Revoked++
		}
		s.Calls += float64(b.Calls) / float64(len(bursts))
		s.Failed += float64(of.Requests-b.Answers) / float64(len(bursts))
		waits = append(waits, b.Waits...)
	}
	slices.Sort(waits)
	s.P50, s.P99, s.Slowest = quantile(waits, .5), quantile(waits, .99), quantile(waits, 1)
	return s
}

// quantile is of sorted waits; 0 if there are none.
func quantile(waits []time.Duration, q float64) time.Duration {
	if len(waits) == 0 {
		return 0
	}
	return waits[int(q*float64(len(waits)-1))]
}

// SwapTime measures a write of a store by itself, one after the other: a refresh needs two of them, for the lease and for the result.
func SwapTime(ctx context.Context, url string) (p50, p99 time.Duration, err error) {
	store, closeStore, err := openStore(url)
	if err != nil {
		return 0, 0, err
	}
	defer closeStore()
	value, version, waits := make([]byte, 1500), int64(0), []time.Duration(nil)
	for range 300 {
		began := time.Now()
		if version, err = store.Swap(ctx, "s:measure", version, value, time.Hour); err != nil {
			return 0, 0, err
		}
		waits = append(waits, time.Since(began))
	}
	slices.Sort(waits)
	return quantile(waits, .5), quantile(waits, .99), nil
}

// Report runs storms one after the other and writes a table: of the waits, the median and the 99th percentile in ms, and as
// multiples of the server's latency.
func Report(ctx context.Context, out io.Writer, storms []Storm) error {
	fmt.Fprintf(out, "%-44s %7s %7s %8s %7s %16s %16s\n", "", "calls", "failed", "revoked", "wrong", "p50", "p99")
	for i := range storms {
		s := &storms[i]
		bursts, err := s.Run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		sum := Summarize(bursts, s)
		times := func(d time.Duration) string {
			return fmt.Sprintf("%.1f ms %5.2f×", d.Seconds()*1000, float64(d)/float64(s.Latency))
		}
		fmt.Fprintf(out, "%-44s %7.1f %7.1f %4d/%-3d %3d/%-3d %16s %16s\n", s.Name, sum.Calls, sum.Failed, sum.Revoked, len(bursts), sum.Wrong, len(bursts), times(sum.P50), times(sum.P99))
	}
	return nil
}
