package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

// counter is one key that is counted up under load, and what its only writer knows of it.
type counter struct {
	key          string
	version      int64
	acknowledged int            // the number in the last write that was acknowledged
	versions     map[int64]bool // of all writes that were
	errors       int
	lost         int // acknowledged writes that were not there any more
}

// step writes the next number. An error leaves the counter in doubt, and the next step reads first.
func (c *counter) step(t testing.TB, ctx context.Context, s *Store) error {
	if c.version == 0 {
		b, version, err := s.Get(ctx, c.key)
		if err == session.ErrNotFound {
			t.Errorf("%s is gone", c.key)
		}
		if err != nil {
			unavailable(t, "get", err)
			c.errors++
			return err
		}
		// More than was acknowledged is a write whose answer was lost.
		number, _ := strconv.Atoi(string(b))
		c.lost += max(0, c.acknowledged-number)
		c.version, c.acknowledged = version, number
	}
	version, err := s.Swap(ctx, c.key, c.version, []byte(strconv.Itoa(c.acknowledged+1)), time.Hour)
	if err != nil {
		if err != session.ErrConflict { // a record that went back to an older version, or the write that was in doubt
			unavailable(t, "swap", err)
		}
		c.errors++
		c.version = 0
		return err
	}
	if c.versions[version] {
		t.Errorf("%s has version %d again", c.key, version)
	}
	c.versions[version] = true
	c.version, c.acknowledged = version, c.acknowledged+1
	return nil
}

func newCounter(t testing.TB, s *Store, key string) *counter {
	version := mustSwap(t, s, key, 0, "0")
	return &counter{key: key, version: version, versions: map[int64]bool{version: true}}
}

// A master of a cluster is killed under load. Its keys fail until its replica has taken over, the others do not, no record
// is gone, and no version comes again. What asynchronous replication loses is measured.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := backing.RedisClusterForTest(t)
	ctx := t.Context()
	// A client that looks at the cluster once a minute, or when it is redirected; a dead master redirects nobody.
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: cluster.Addrs(), ReadTimeout: time.Second, DialTimeout: time.Second, DialerRetries: 1, ContextTimeoutEnabled: true,
	})
	defer client.Close()
	s, err := New(client, Options{})
	if err != nil {
		t.Fatal(err)
	}

	var counters []*counter
	masters := map[*counter]*backing.Redis{}
	population := map[*backing.Redis]int{}
	for i := range 48 {
		c := newCounter(t, s, fmt.Sprintf("s%08x", i*2654435761&0xffffffff))
		master, err := cluster.Master(ctx, s.name(c.key))
		if err != nil {
			t.Fatal(err)
		}
		counters, masters[c] = append(counters, c), master
		population[master]++
	}
	if len(population) != 3 {
		t.Fatalf("48 keys on %d masters", len(population))
	}
	// Each master has what the cluster's own hash of the key says, so one node's data is one slot's.
	for master, n := range population {
		if size := plain(t, master.Addr()).DBSize(ctx).Val(); int(size) != n {
			t.Errorf("%d of %d keys on one master", size, n)
		}
	}

	victim := masters[counters[0]]
	killed := make(chan time.Time, 1)
	var back sync.Map // counters of the victim that work again
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				c := counters[(worker+8*i)%len(counters)]
				failed := c.errors
				if c.step(t, ctx, s) == nil && failed > 0 {
					back.Store(c, true)
				}
			}
		})
	}
	time.Sleep(time.Second)
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	killed <- time.Now()
	eventually(t, "the replica's service of every key", func() bool {
		n := 0
		back.Range(func(any, any) bool { n++; return true })
		return n >= population[victim]
	})
	outage := time.Since(<-killed)
	time.Sleep(300 * time.Millisecond)
	close(stop)
	wg.Wait()

	acknowledged, lost, failures := 0, 0, 0
	for _, c := range counters {
		if c.version == 0 {
			eventually(t, c.key, func() bool { return c.step(t, ctx, s) == nil })
		}
		if masters[c] != victim && (c.errors > len(c.versions)/100 || c.lost > 0) {
			t.Errorf("%s, of another master: %d writes, %d errors, %d lost", c.key, len(c.versions), c.errors, c.lost)
		}
		if masters[c] == victim {
			acknowledged += len(c.versions)
			lost += c.lost
			failures += c.errors
		}
	}
	t.Logf("the dead master's %d keys: %d failed operations, all served again after %v; of %d acknowledged writes %d lost",
		population[victim], failures, outage.Round(10*time.Millisecond), acknowledged, lost)

	// The old master comes back as a replica, and what it had is not served.
	if err := victim.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	settling, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := cluster.Settled(settling); err != nil {
		t.Fatal(err)
	}
	for _, c := range counters {
		mustGet(t, s, c.key, strconv.Itoa(c.acknowledged), c.version)
	}
}

// The same with Sentinel.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	servers := backing.RedisSentinelForTest(t)
	ctx := t.Context()
	s := open(t, servers.URL())
	c := newCounter(t, s, "k")
	for range 200 {
		if err := c.step(t, ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	if size := plain(t, servers.Master.Addr()).DBSize(ctx).Val(); size != 1 {
		t.Fatalf("%d keys on the master", size)
	}
	// Replication takes microseconds, but no promise: it must not have to catch up for this test's sake.
	eventually(t, "replication", func() bool {
		b, _ := plain(t, servers.Replica.Addr()).Get(ctx, s.name("k")).Result()
		return b == record(c.version, "200")
	})
	if err := servers.Master.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := c.step(t, ctx, s); err == nil {
		t.Error("a killed master takes writes")
	}
	eventually(t, "failover", func() bool { return c.step(t, ctx, s) == nil })
	t.Logf("served again after %v, %d failed operations, %d acknowledged writes lost",
		time.Since(killed).Round(10*time.Millisecond), c.errors, c.lost)
	if c.lost != 0 || c.acknowledged != 201 {
		t.Errorf("at %d, %d lost", c.acknowledged, c.lost)
	}

	// The sentinels away, too: what is connected goes on, and a new store says that it cannot be reached.
	servers.Stop()
	both(s, func(name string, op func(context.Context) error) { unavailable(t, name, op(ctx)) })
	both(open(t, servers.URL()), func(name string, op func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err := op(ctx)
		unavailable(t, name, err)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s hangs", name)
		}
	})
}
