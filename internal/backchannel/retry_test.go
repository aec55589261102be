package backchannel

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryAfter(t *testing.T) {
	// ATK-T17: every form of the header, clamped to 0…60 s.
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		values []string
		want   time.Duration
		ok     bool
	}{
		{"none", nil, 0, false},
		{"empty", []string{""}, 0, false},
		{"zero", []string{"0"}, 0, true},
		{"five", []string{"5"}, 5 * time.Second, true},
		{"sixty", []string{"60"}, time.Minute, true},
		{"sixty-one", []string{"61"}, time.Minute, true},
		{"a day", []string{"86400"}, time.Minute, true},
		{"a billion", []string{"1000000000"}, time.Minute, true},
		{"overflows seconds", []string{"9223372036"}, time.Minute, true},
		{"overflows int64", []string{"99999999999999999999999"}, time.Minute, true},
		{"negative", []string{"-1"}, 0, false},
		{"plus", []string{"+5"}, 0, false},
		{"exponent", []string{"1e9"}, 0, false},
		{"fraction", []string{"1.5"}, 0, false},
		{"words", []string{"abc"}, 0, false},
		{"digits of another script", []string{"٥"}, 0, false},
		{"trailing words", []string{"5 CANARY"}, 0, false},
		{"two", []string{"5", "6"}, 0, false},
		{"date", []string{"Sun, 01 Mar 2026 12:00:07 GMT"}, 7 * time.Second, true},
		{"date far away", []string{"Sun, 01 Mar 2126 12:00:07 GMT"}, time.Minute, true},
		{"date past", []string{"Sun, 01 Mar 2026 11:59:00 GMT"}, 0, true},
		{"date before the epoch", []string{"Mon, 01 Jan 0001 00:00:00 GMT"}, 0, true},
		{"old date format", []string{"Sunday, 01-Mar-26 12:00:07 GMT"}, 7 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.values != nil {
				h["Retry-After"] = tt.values
			}
			wait, ok := retryAfter(h, now)
			if wait != tt.want || ok != tt.ok {
				t.Errorf("retryAfter = %v, %v, want %v, %v", wait, ok, tt.want, tt.ok)
			}
			// The same through a call: reported, whatever the class does with it.
			c := New(Config{
				Now:  func() time.Time { return now },
				Base: roundTripFunc(func(*http.Request) (*http.Response, error) { r := inMemory(429, ""); r.Header = h; return r, nil }),
			})
			resp, err := c.Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 0)
			wantBody(t, resp, err, 429, "")
			if resp.RetryAfter != tt.want {
				t.Errorf("RetryAfter = %v, want %v", resp.RetryAfter, tt.want)
			}
		})
	}
}

// busy answers with each of the statuses in turn, and with the last for ever.
func busy(statuses []int, headers ...string) (http.RoundTripper, *atomic.Int32) {
	calls := new(atomic.Int32)
	return roundTripFunc(func(*http.Request) (*http.Response, error) {
		n := int(calls.Add(1))
		status := statuses[min(n, len(statuses))-1]
		return inMemory(status, fmt.Sprint("answer ", n), headers...), nil
	}), calls
}

func TestBusyServer(t *testing.T) {
	// ATK-T17: who is retried after 429 and 503, when, and how often.
	const five, tooLong, garbage = "Retry-After: 5", "Retry-After: 30", "Retry-After: 1e9"
	const inside = 11 * time.Second // more than any wait of these
	for _, tt := range []struct {
		name     string
		class    Class
		statuses []int
		header   string
		status   int
		body     string
		least    time.Duration // time that passed
		most     time.Duration
	}{
		{"code, 429", OneTimeGrant, []int{429, 200}, five, 429, "answer 1", 0, 0},
		{"code, 503", OneTimeGrant, []int{503, 200}, five, 503, "answer 1", 0, 0},
		{"code, 500", OneTimeGrant, []int{500, 200}, five, 500, "answer 1", 0, 0},
		{"code, 400", OneTimeGrant, []int{400, 200}, "", 400, "answer 1", 0, 0},

		{"refresh, 429", RefreshGrant, []int{429, 200}, "Retry-After: 1", 200, "answer 2", time.Second, time.Second},
		{"refresh, 503", RefreshGrant, []int{503, 200}, "Retry-After: 1", 200, "answer 2", time.Second, time.Second},
		{"refresh, longer than a user should wait", RefreshGrant, []int{503, 200}, "Retry-After: 2", 503, "answer 1", 0, 0},
		{"refresh, 503 twice", RefreshGrant, []int{503, 503, 200}, "Retry-After: 1", 503, "answer 2", time.Second, time.Second},
		{"refresh, 429 and now", RefreshGrant, []int{429, 200}, "Retry-After: 0", 200, "answer 2", minBackoff / 2, minBackoff},
		{"refresh, no header", RefreshGrant, []int{503, 200}, "", 503, "answer 1", 0, 0},
		{"refresh, garbage", RefreshGrant, []int{503, 200}, garbage, 503, "answer 1", 0, 0},
		{"refresh, negative", RefreshGrant, []int{429, 200}, "Retry-After: -1", 429, "answer 1", 0, 0},
		{"refresh, beyond the deadline", RefreshGrant, []int{503, 200}, tooLong, 503, "answer 1", 0, 0},
		{"refresh, a day", RefreshGrant, []int{503, 200}, "Retry-After: 86400", 503, "answer 1", 0, 0},
		{"refresh, 500", RefreshGrant, []int{500, 200}, five, 500, "answer 1", 0, 0},
		{"refresh, 502", RefreshGrant, []int{502, 200}, five, 502, "answer 1", 0, 0},
		{"refresh, 504", RefreshGrant, []int{504, 200}, five, 504, "answer 1", 0, 0},
		{"refresh, 400", RefreshGrant, []int{400, 200}, five, 400, "answer 1", 0, 0},
		{"refresh, 200", RefreshGrant, []int{200}, five, 200, "answer 1", 0, 0},

		{"unknown class, 503", Class(-1), []int{503, 200}, five, 503, "answer 1", 0, 0},

		{"idempotent, 429", Idempotent, []int{429, 200}, "", 200, "answer 2", 1, inside},
		{"idempotent, 502, 503", Idempotent, []int{502, 503, 200}, "", 200, "answer 3", 1, inside},
		{"idempotent, 504 for ever", Idempotent, []int{504}, "", 504, "answer 3", 1, inside},
		{"idempotent, asked to wait", Idempotent, []int{503, 200}, five, 200, "answer 2", 5 * time.Second, 5 * time.Second},
		{"idempotent, beyond the deadline", Idempotent, []int{503, 200}, tooLong, 503, "answer 1", 0, 0},
		{"idempotent, wait twice, beyond the deadline", Idempotent, []int{503, 503, 200}, five, 503, "answer 2", 5 * time.Second, 5 * time.Second},
		{"idempotent, 500", Idempotent, []int{500, 200}, five, 500, "answer 1", 0, 0},
		{"idempotent, 501", Idempotent, []int{501, 200}, five, 501, "answer 1", 0, 0},
		{"idempotent, 404", Idempotent, []int{404, 200}, five, 404, "answer 1", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var headers []string
				if tt.header != "" {
					headers = []string{tt.header}
				}
				base, _ := busy(tt.statuses, headers...)
				start := time.Now()
				resp, err := New(Config{Base: base}).Do(newRequest(t, tt.class, "https://as.example/x"), tt.class, 0)
				wantBody(t, resp, err, tt.status, tt.body)
				if took := time.Since(start); took < tt.least || took > tt.most {
					t.Errorf("took %v, want %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}

// A refresh that waited for a busy server may still be sent again because it was
// not sent, and the other way round; no further.
func TestRefreshAfterWaiting(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []string
		dials int32
		ok    bool
	}{
		{"busy, refused, answer", []string{"busy", "refuse", "answer"}, 3, true},
		{"refused, busy, answer", []string{"refuse", "busy", "answer"}, 3, true},
		{"refused, refused, answer", []string{"refuse", "refuse", "answer"}, 2, false},
		{"busy, refused, refused", []string{"busy", "refuse", "refuse", "answer"}, 3, false},
		{"busy, hang up, answer", []string{"busy", "hang up", "answer"}, 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				c := n.client(t, Config{})
				dial := c.base.(*http.Transport).DialContext
				c.base.(*http.Transport).DialContext = dialSteps(&n, dial, tt.steps)
				resp, err := c.Do(newGrant(t, "http://as.example/token"), RefreshGrant, 0)
				if tt.ok {
					wantBody(t, resp, err, 200, "ok")
				} else if err == nil {
					t.Errorf("answer %d", resp.Status)
				}
				if d := n.dials.Load(); d != tt.dials {
					t.Errorf("%d dials, want %d", d, tt.dials)
				}
			})
		})
	}
}

// dialSteps makes the n-th connection behave as the n-th step says.
func dialSteps(n *network, dial dialFunc, steps []string) dialFunc {
	n.serve = func(i int, p *peer) {
		if _, _, err := p.request(); err != nil {
			return
		}
		switch steps[i-1] {
		case "busy":
			p.answer(503, "", "Retry-After: 1", "Connection: close")
		case "answer":
			p.answer(200, "ok", "Connection: close")
		}
	}
	return func(ctx context.Context, network, addr string) (conn netConn, err error) {
		if steps[n.dials.Load()] == "refuse" {
			n.dials.Add(1)
			return nil, errRefused
		}
		return dial(ctx, network, addr)
	}
}

func TestIdempotentTransportFailures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []string
		dials int32
		ok    bool
	}{
		{"refused once", []string{"refuse", "answer"}, 2, true},
		{"hung up twice", []string{"hang up", "hang up", "answer"}, 3, true},
		{"hung up three times", []string{"hang up", "hang up", "hang up", "answer"}, 3, false},
		{"hung up, busy, answer", []string{"hang up", "busy", "answer"}, 3, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				c := n.client(t, Config{})
				c.base.(*http.Transport).DialContext = dialSteps(&n, n.dial, tt.steps)
				resp, err := c.Do(newGet(t, "http://as.example/keys"), Idempotent, 0)
				if tt.ok {
					wantBody(t, resp, err, 200, "ok")
				} else {
					wantError(t, err, KindTransport, true)
				}
				if d := n.dials.Load(); d != tt.dials {
					t.Errorf("%d dials, want %d", d, tt.dials)
				}
			})
		})
	}
}

// An idempotent POST (a revocation) is sent again with its body.
func TestIdempotentPostKeepsItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		var bodies []string
		n.serve = func(i int, p *peer) {
			_, body, err := p.request()
			if err != nil {
				return
			}
			bodies = append(bodies, body)
			if i > 1 {
				p.answer(200, "ok")
			}
		}
		resp, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/revoke"), Idempotent, 0)
		wantBody(t, resp, err, 200, "ok")
		if len(bodies) != 2 || bodies[0] != grantBody || bodies[1] != grantBody {
			t.Errorf("bodies = %q", bodies)
		}
	})
}

// With little time left there is no second attempt: the answer at hand is
// better than a deadline.
func TestNoRetryWithoutTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, calls := busy([]int{503})
		resp, err := New(Config{Base: base, Timeout: maxBackoff}).Do(newGet(t, "https://as.example/keys"), Idempotent, 0)
		wantBody(t, resp, err, 503, "answer 1")
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}

		var n network // refuses
		_, err = n.client(t, Config{Timeout: maxBackoff}).Do(newGrant(t, "http://as.example/token"), OneTimeGrant, 0)
		wantError(t, err, KindTransport, false)
		if n.dials.Load() != 1 {
			t.Errorf("%d dials", n.dials.Load())
		}
	})
}

func TestBackoffIsBoundedAndJittered(t *testing.T) {
	c := New(Config{})
	seen := map[time.Duration]bool{}
	for attempt := range maxRetries {
		for range 100 {
			wait := c.backoff(minBackoff, maxBackoff, attempt, nil)
			if wait < minBackoff/2 || wait > maxBackoff {
				t.Fatalf("wait %v before retry %d", wait, attempt+1)
			}
			seen[wait] = true
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d different waits in 200", len(seen))
	}
	resp := inMemory(503, "", "Retry-After: 86400")
	if wait := c.backoff(minBackoff, maxBackoff, 0, resp); wait != maxRetryAfter {
		t.Errorf("wait %v, want %v", wait, maxRetryAfter)
	}
}
