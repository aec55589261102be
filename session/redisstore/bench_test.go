package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/backing"
)

// The floor of a swap: the same comparison and the same write, with a version that the caller makes.
var bareSwap = redis.NewScript(`if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

// What one would write without much thought: the version and the value are fields of a hash.
var hashSwap = redis.NewScript(`local v = redis.call('HGET', KEYS[1], 'v')
if v ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'd', ARGV[2])
redis.call('PEXPIRE', KEYS[1], 3600000)
return 1`)

// round takes turns between the ways, a few dozen operations each, so that what else the machine does concerns all of
// them, and reports what each takes as a multiple of the first.
func round(b *testing.B, workers int, names []string, ways ...func(worker int) error) {
	const turn = 32
	took := make([]time.Duration, len(ways))
	for _, way := range ways { // connections and scripts
		for w := range workers {
			if err := way(w); err != nil {
				b.Fatal(err)
			}
		}
	}
	operations := 0
	for b.Loop() {
		operations += turn * workers
		for i, way := range ways {
			start := time.Now()
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for range turn {
						if err := way(w); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			took[i] += time.Since(start)
		}
	}
	for i, name := range names {
		b.ReportMetric(float64(took[i].Nanoseconds())/float64(operations), name+"-ns")
		if i > 0 {
			b.ReportMetric(float64(took[i])/float64(took[0]), name+"/bare")
		}
	}
	b.ReportMetric(0, "ns/op")
}

func BenchmarkGet(b *testing.B) {
	server := backing.RedisForTest(b)
	s := open(b, server.URL())
	ctx := context.Background()
	value := bytes.Repeat([]byte("v"), 2048)
	if _, err := s.Swap(ctx, "k", 0, value, time.Hour); err != nil {
		b.Fatal(err)
	}
	name := s.name("k")
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			round(b, workers, []string{"bare", "ours"},
				func(int) error { _, err := s.client.Get(ctx, name).Bytes(); return err },
				func(int) error { _, _, err := s.Get(ctx, "k"); return err })
		})
	}
}

func BenchmarkSwap(b *testing.B) {
	server := backing.RedisForTest(b, "auto-aof-rewrite-percentage 0") // a rewrite would concern one way more than another
	s := open(b, server.URL())
	ctx := context.Background()
	value := bytes.Repeat([]byte("v"), 2048)
	versioned := append([]byte(record(1, "")), value...)
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			versions := make([]int64, workers)
			for w := range workers {
				if err := s.client.Set(ctx, fmt.Sprint("bare", w), versioned, time.Hour).Err(); err != nil {
					b.Fatal(err)
				}
				if err := s.client.HSet(ctx, fmt.Sprint("hash", w), "v", "1", "d", value).Err(); err != nil {
					b.Fatal(err)
				}
				v, err := s.Swap(ctx, fmt.Sprint(workers, ":", w), 0, value, time.Hour)
				if err != nil {
					b.Fatal(err)
				}
				versions[w] = v
			}
			run := func(script *redis.Script, key string, args ...any) error {
				n, err := script.Run(ctx, s.client, []string{key}, args...).Int()
				if err == nil && n != 1 {
					return fmt.Errorf("the script says %d", n)
				}
				return err
			}
			round(b, workers, []string{"bare", "ours", "hash"},
				func(w int) error { return run(bareSwap, fmt.Sprint("bare", w), versioned[:8], versioned, 3600000) },
				func(w int) (err error) {
					versions[w], err = s.Swap(ctx, fmt.Sprint(workers, ":", w), versions[w], value, time.Hour)
					return err
				},
				func(w int) error { return run(hashSwap, fmt.Sprint("hash", w), "1", value) })
		})
	}
}

// A read allocates two small things more than a bare GET: the name of the key and the context with the limit.
func TestGetAllocations(t *testing.T) {
	server := backing.RedisForTest(t)
	s := open(t, server.URL())
	ctx := context.Background()
	mustSwap(t, s, "k", 0, string(make([]byte, 2048)))
	name := s.name("k")
	bare := testing.AllocsPerRun(500, func() {
		if _, err := s.client.Get(ctx, name).Bytes(); err != nil {
			t.Error(err)
		}
	})
	ours := testing.AllocsPerRun(500, func() {
		if _, _, err := s.Get(ctx, "k"); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%v allocations, a bare GET %v", ours, bare)
	if raced() {
		return // the race detector empties pools
	}
	if ours > bare+2 || ours > 9 {
		t.Errorf("%v allocations, a bare GET %v", ours, bare)
	}
}

func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
