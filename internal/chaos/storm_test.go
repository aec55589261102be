//go:build unix

package chaos

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/backing"
)

// A refresh storm is one call and an answer for everybody, in one process and in four, wherever sessions live; and what most
// applications do is not. Counts only: the figures in time are the command's (cmd/storm). ATK-F02, ATK-F03
func TestStorm(t *testing.T) {
	redis := backing.RedisForTest(t)
	postgres := backing.PostgresForTest(t)
	for _, s := range Storms(redis.URL(), postgres.URL()) {
		t.Run(s.Name, func(t *testing.T) {
			s.Requests, s.Bursts, s.Latency = 64, 15, 20*time.Millisecond
			if s.Peer() {
				s.Bursts = 3
			}
			bursts, err := s.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(bursts) != s.Bursts {
				t.Fatalf("%d bursts", len(bursts))
			}
			for i, b := range bursts {
				switch {
				case s.Way == wayNaive || s.Way == wayReuse:
					// What the others do has to fail here, or the server is not strict and the rest shows nothing.
					if !b.Revoked || b.Calls < 4 || b.Answers >= s.Requests {
						t.Errorf("burst %d: %d calls, %d answers, revoked %v", i, b.Calls, b.Answers, b.Revoked)
					}
				case !b.Right(&s):
					t.Errorf("burst %d: %d calls, %d answers, %d tokens, %d foreign, revoked %v", i, b.Calls, b.Answers, b.Tokens, b.Foreign, b.Revoked)
				}
			}
			sum := Summarize(bursts, &s)
			t.Logf("%.1f calls, %.1f failed, %d of %d families revoked; p50 %v, p99 %v, server %v", sum.Calls, sum.Failed, sum.Revoked, len(bursts), sum.P50, sum.P99, s.Latency)
		})
	}
}
