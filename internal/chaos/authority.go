//go:build unix

package chaos

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

// disturbance is what the authorization server does to a refresh.
type disturbance string

const (
	unavailable disturbance = "503"
	resetBefore disturbance = "reset before it rotated"
	resetAfter  disturbance = "reset after it rotated"
	slow        disturbance = "slow beyond the lease"
)

// arrival is a refresh that arrived at the authorization server.
type arrival struct {
	at    time.Time
	token uint64 // a hash of the refresh token that it carried
	grant string // which that is of
	whose string // subject of that
	run   string // of the process that sent it
	fault disturbance
}

// lost reports whether the process that sent it cannot know what became of it.
func (a *arrival) lost() bool { return a.fault == resetBefore || a.fault == resetAfter }

// authority is an authorization server, and the log of what arrived there.
type authority struct {
	*authtest.Server
	grace time.Duration
	seed  maphash.Seed

	mu       sync.Mutex
	random   *rand.Rand
	arrivals []*arrival
	attempts map[string]*arrival // by the name of the attempt, those of the last moments
	forget   []string
	struck   map[disturbance]int
}

// recent bounds authority.attempts: faults ask for an attempt in the moment in which it arrives.
const recent = 4096

func newAuthority(users []authtest.User, lifetime, grace, latency time.Duration, seed uint64) *authority {
	s := &authority{
		grace: grace, seed: maphash.MakeSeed(), random: rand.New(rand.NewPCG(seed, 1)),
		attempts: map[string]*arrival{}, struck: map[disturbance]int{},
	}
	s.Server = authtest.NewServer(authtest.Config{
		Clients: []authtest.Client{registration()}, Users: users, AccessTokenLifetime: lifetime, RotationGrace: grace,
	})
	s.Misbehave(authtest.Fault{Endpoint: authtest.Token, When: s.note, Delay: latency})
	return s
}

func refreshes(r *authtest.Request) (token string, ok bool) {
	if v := r.Form["grant_type"]; len(v) != 1 || v[0] != "refresh_token" || len(r.Form["refresh_token"]) != 1 {
		return "", false
	}
	return r.Form["refresh_token"][0], true
}

// note enters a refresh in the log. It is the first fault in force, so the others find it there.
func (s *authority) note(r *authtest.Request) bool {
	token, ok := refreshes(r)
	if !ok {
		return true
	}
	g, _ := s.Grant(token)
	name := r.Header.Get(attemptHeader)
	a := &arrival{at: time.Now(), token: maphash.String(s.seed, token), grant: g.ID, whose: g.Subject}
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		a.run = strings.Clone(name[:i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = append(s.arrivals, a)
	s.attempts[name] = a
	if s.forget = append(s.forget, name); len(s.forget) > recent {
		delete(s.attempts, s.forget[0])
		s.forget = s.forget[1:]
	}
	return true
}

// strike is for Fault.When: it disturbs a refresh with probability p, and only if nothing else does.
func (s *authority) strike(d disturbance, p float64) func(*authtest.Request) bool {
	return func(r *authtest.Request) bool {
		if _, ok := refreshes(r); !ok {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		a := s.attempts[r.Header.Get(attemptHeader)]
		if a == nil || a.fault != "" || s.random.Float64() >= p {
			return false
		}
		a.fault = d
		s.struck[d]++
		return true
	}
}

// disturb misbehaves in one way after the other, each for a while, until ctx is done.
func (s *authority) disturb(ctx context.Context) {
	token := func(d disturbance, p float64, f authtest.Fault) authtest.Fault {
		f.Endpoint, f.When = authtest.Token, s.strike(d, p)
		return f
	}
	busy := &authtest.Response{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"2"}}, Body: []byte("busy")}
	var dawdle []authtest.Fault
	for _, d := range []time.Duration{4, 5, 6, 7, 8} {
		f := authtest.Fault{Delay: d * time.Second}
		if s.grace > 0 {
			// The window of most servers, and of this one, is for the last refresh token before the current one. A call that is taken
			// late, when the process that made it is dead and another has refreshed twice, is outside of it, and no client can help
			// that. So a server with a window takes calls at once, and is slow to answer.
			f.Wire = authtest.StallAfter
		}
		dawdle = append(dawdle, token(slow, .04, f))
	}
	ways := [][]authtest.Fault{
		{token(resetAfter, .1, authtest.Fault{Wire: authtest.DropAfter})},
		{token(unavailable, 1, authtest.Fault{Answer: busy})},
		{token(resetBefore, .1, authtest.Fault{Wire: authtest.DropBefore})},
		dawdle,
	}
	for i := 0; sleep(ctx, 700*time.Millisecond); i++ {
		stop := s.Misbehave(ways[i%len(ways)]...)
		s.mu.Lock()
		d := time.Second + time.Duration(s.random.Int64N(int64(2*time.Second)))
		s.mu.Unlock()
		sleep(ctx, d)
		stop()
	}
}

// log returns the arrivals by grant, oldest first.
func (s *authority) log() map[string][]*arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]*arrival{}
	for _, a := range s.arrivals {
		all[a.grant] = append(all[a.grant], a)
	}
	return all
}
