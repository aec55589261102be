package authtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

// took measures a request on the fake clock.
func took(t *testing.T, g *rig, r *http.Request) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	resp, err := g.http.Do(r)
	if err != nil {
		return time.Since(start), err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return time.Since(start), err
}

func TestDelay(t *testing.T) {
	const latency, slow = 20 * time.Millisecond, 5 * time.Second
	delayed := func(d time.Duration, w authtest.Wire) authtest.Fault {
		return authtest.Fault{Endpoint: authtest.Token, Delay: d, Wire: w}
	}
	for _, tc := range []struct {
		name    string
		faults  []authtest.Fault
		took    time.Duration
		lost    bool // without an answer
		rotated bool
	}{
		{"latency", []authtest.Fault{delayed(latency, "")}, latency, false, true},
		{"latency adds up", []authtest.Fault{delayed(latency, ""), delayed(slow, "")}, latency + slow, false, true},
		{"slow before it acts", []authtest.Fault{delayed(slow, authtest.StallBefore)}, slow, false, true},
		{"slow after it acted", []authtest.Fault{delayed(slow, authtest.StallAfter)}, slow, false, true},
		{"slow in the middle of the body", []authtest.Fault{delayed(slow, authtest.StallBody)}, slow, false, true},
		{"late, and then nothing", []authtest.Fault{delayed(slow, authtest.DropBefore)}, slow, true, false},
		{"acted late, and then nothing", []authtest.Fault{delayed(slow, authtest.DropAfter)}, slow, true, true},
		{"latency beside a lost answer", []authtest.Fault{delayed(latency, ""), delayed(0, authtest.DropAfter)}, latency, true, true},
		{"latency beside a stall", []authtest.Fault{delayed(slow, authtest.StallAfter), delayed(latency, "")}, latency + slow, false, true},
		{"of two stalls the first counts", []authtest.Fault{delayed(slow, authtest.StallAfter), delayed(latency, authtest.StallBefore)}, slow, false, true},
		{"late with another answer", []authtest.Fault{{Endpoint: authtest.Token, Delay: latency, Answer: &authtest.Response{Status: 503}}}, latency, false, false},
		{"another endpoint", []authtest.Fault{{Endpoint: authtest.JWKS, Delay: slow}}, 0, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, authtest.Config{})
				tokens := g.logIn()
				g.as.Misbehave(tc.faults...)
				d, err := took(t, g, g.postRequest("token", refreshForm(tokens["refresh_token"])))
				if d != tc.took || (err != nil) != tc.lost {
					t.Errorf("%v, %v; want %v", d, err, tc.took)
				}
				if rotated := g.as.Stats().Rotations == 1; rotated != tc.rotated {
					t.Errorf("rotated: %v", rotated)
				}
			})
		})
	}
}

// A request that is slow has its effect although the client has gone; one that is stalled before has none.
func TestDelayOutlivesTheClient(t *testing.T) {
	for _, tc := range []struct {
		wire    authtest.Wire
		rotated int
	}{{"", 1}, {authtest.DropAfter, 1}, {authtest.StallAfter, 1}, {authtest.StallBefore, 0}} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, authtest.Config{})
			tokens := g.logIn()
			g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Delay: time.Second, Wire: tc.wire})
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			d, err := took(t, g, g.postRequest("token", refreshForm(tokens["refresh_token"])).WithContext(ctx))
			if d != time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%q: %v, %v", tc.wire, d, err)
			}
			time.Sleep(2 * time.Second)
			if n := g.as.Stats().Rotations; n != tc.rotated {
				t.Errorf("%q: %d rotations, want %d", tc.wire, n, tc.rotated)
			}
		})
	}
}

// The Gate opens before its time if somebody opens it.
func TestDelayAndGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, authtest.Config{})
		gate := make(chan struct{})
		g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.StallAfter, Gate: gate, Delay: time.Minute})
		time.AfterFunc(time.Second, func() { close(gate) })
		r, err := http.NewRequest("GET", g.endpoint("jwks"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := took(t, g, r); d != time.Second || err != nil {
			t.Errorf("%v, %v", d, err)
		}
	})
}

// Close does not wait for slow requests.
func TestCloseEndsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, authtest.Config{})
		g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Delay: time.Hour})
		r := httptest.NewRequest("GET", g.endpoint("jwks"), nil)
		time.AfterFunc(time.Second, g.as.Close)
		start := time.Now()
		defer func() {
			if d := time.Since(start); recover() != http.ErrAbortHandler || d != time.Second {
				t.Errorf("ended after %v", d)
			}
		}()
		g.as.ServeHTTP(httptest.NewRecorder(), r)
	})
}

func TestChance(t *testing.T) {
	draw := func(p float64, seed uint64) (hits int, pattern [64]bool) {
		chance := authtest.Chance(p, seed)
		for i := range 10_000 {
			hit := chance(&authtest.Request{})
			if hit {
				hits++
			}
			if i < len(pattern) {
				pattern[i] = hit
			}
		}
		return hits, pattern
	}
	for _, tc := range []struct {
		p           float64
		least, most int
	}{{0, 0, 0}, {1, 10_000, 10_000}, {0.1, 800, 1_200}, {0.5, 4_700, 5_300}} {
		hits, _ := draw(tc.p, 7)
		if hits < tc.least || hits > tc.most {
			t.Errorf("%v: %d of 10,000", tc.p, hits)
		}
	}
	_, one := draw(0.5, 1)
	if _, again := draw(0.5, 1); again != one {
		t.Error("the same seed gives another order")
	}
	if _, other := draw(0.5, 2); other == one {
		t.Error("another seed gives the same order")
	}
}

// Until somebody says stop, and not for other grants.
func TestChanceInAFault(t *testing.T) {
	g := newRig(t, authtest.Config{NoRotation: true})
	chance := authtest.Chance(0.5, 3)
	stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Answer: &authtest.Response{Status: 503},
		When: func(r *authtest.Request) bool { return r.Form.Get("grant_type") == "refresh_token" && chance(r) }})
	seen := map[int]int{}
	for range 10 {
		tokens := g.logIn()
		for range 10 {
			status, _ := g.post("token", refreshForm(tokens["refresh_token"]))
			seen[status]++
		}
	}
	if len(seen) != 2 || seen[200] < 20 || seen[503] < 20 {
		t.Errorf("%v", seen)
	}
	stop()
	tokens := g.logIn()
	for range 20 {
		if status, _ := g.post("token", refreshForm(tokens["refresh_token"])); status != 200 {
			t.Errorf("%d after the fault was stopped", status)
		}
	}
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for name, f := range map[string]func(){
		"negative delay": func() { g.as.Misbehave(authtest.Fault{Delay: -1}) },
		"chance below 0": func() { authtest.Chance(-0.1, 1) },
		"chance above 1": func() { authtest.Chance(1.1, 1) },
		"no chance":      func() { var zero float64; authtest.Chance(zero/zero, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
